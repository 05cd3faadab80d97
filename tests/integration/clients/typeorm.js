// TypeORM through Signalbox: connection data by the libpq environment, one line `ok` at the end.
'use strict';
require('reflect-metadata');
const assert = require('assert');
const fs = require('fs');
const { DataSource, EntitySchema, In, MoreThan, QueryFailedError, TableColumn, TableIndex } = require('typeorm');

const schema = process.env.SCHEMA;
const Author = new EntitySchema({
    name: 'Author', schema,
    columns: {
        id: { type: 'bigint', primary: true, generated: 'increment' },
        name: { type: 'varchar', length: 50, unique: true },
        mood: { type: 'enum', enum: ['glad', 'sad'], default: 'glad' },
        born: { type: 'timestamptz', createDate: true },
    },
    relations: { books: { type: 'one-to-many', target: 'Book', inverseSide: 'author', cascade: true } },
});
const Book = new EntitySchema({
    name: 'Book', schema,
    columns: {
        id: { type: 'uuid', primary: true, generated: 'uuid' },
        title: { type: 'text' },
        tags: { type: 'text', array: true, default: [] },
        extra: { type: 'jsonb', nullable: true },
        cover: { type: 'bytea', nullable: true },
        pages: { type: 'int', default: 1 },
        version: { type: 'int', version: true },
    },
    indices: [{ columns: ['title'] }],
    checks: [{ expression: '"pages" >= 0' }],
    relations: { author: { type: 'many-to-one', target: 'Author', inverseSide: 'books', onDelete: 'CASCADE' } },
});
const Connection = new EntitySchema({
    name: 'Connection', schema: 'mz_catalog', tableName: 'mz_connections', synchronize: false,
    columns: {
        id: { type: 'text', primary: true }, name: { type: 'text' }, type: { type: 'text' },
        created_at: { type: 'timestamptz' },
    },
});

class First1700000000001 {
    async up(runner) {
        await runner.query(`CREATE TABLE "${schema}".migrated (id int PRIMARY KEY); INSERT INTO "${schema}".migrated VALUES (1)`);
        await runner.addColumn(`${schema}.migrated`, new TableColumn({ name: 'word', type: 'text', isNullable: true }));
    }
    async down(runner) { await runner.dropTable(`${schema}.migrated`); }
}
class Second1700000000002 {
    async up(runner) {
        const index = new TableIndex({ name: 'migrated_word', columnNames: ['word'], isUnique: true });
        await runner.createIndex(`${schema}.migrated`, index);
        await runner.renameColumn(`${schema}.migrated`, 'word', 'name');
    }
    async down(runner) {
        await runner.renameColumn(`${schema}.migrated`, 'name', 'word');
        await runner.dropIndex(`${schema}.migrated`, 'migrated_word');
    }
}
class Third1700000000003 {
    transaction = false;  // what PostgreSQL does outside a transaction only
    async up(runner) { await runner.query(`CREATE INDEX CONCURRENTLY migrated_id ON "${schema}".migrated (id, name)`); }
    async down(runner) { await runner.query(`DROP INDEX CONCURRENTLY "${schema}".migrated_id`); }
}

const settings = {
    type: 'postgres', host: 'localhost', port: Number(process.env.PGPORT), database: process.env.PGDATABASE,
    username: process.env.PGUSER, password: process.env.PGPASSWORD, schema,
    ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT, 'utf8') },
    installExtensions: false, uuidExtension: 'pgcrypto', poolSize: 5,
    migrationsTransactionMode: 'each', migrations: [First1700000000001, Second1700000000002, Third1700000000003],
};

async function migrate(db) {
    assert.strictEqual(await db.showMigrations(), true);
    const done = await db.runMigrations();
    assert.deepStrictEqual(done.map((m) => m.name), ['First1700000000001', 'Second1700000000002', 'Third1700000000003']);
    const runner = db.createQueryRunner();
    const table = await runner.getTable(`${schema}.migrated`);
    assert.deepStrictEqual(table.columns.map((c) => [c.name, c.type]), [['id', 'integer'], ['name', 'text']]);
    assert.deepStrictEqual(table.indices.map((i) => i.name).sort(), ['migrated_id', 'migrated_word']);
    await runner.release();
    await db.undoLastMigration({ transaction: 'none' });
    await db.undoLastMigration();
    await db.undoLastMigration();
    assert.strictEqual(await db.showMigrations(), true);
}

async function synchronize(db) {
    await db.synchronize(true);  // drops everything in the schema first
    // Nothing is to be changed: the catalogs say what the entities say.
    const left = await db.driver.createSchemaBuilder().log();
    assert.deepStrictEqual(left.upQueries.map((q) => q.query), []);
}

async function rows(db) {
    const authors = db.getRepository(Author);
    const books = db.getRepository(Book);
    const saved = await authors.save({
        name: 'Ä. Author',
        books: [{ title: "It's $1", tags: ['a', 'b,c', 'ü"'], extra: { deep: [1, null] }, cover: Buffer.from([0, 255]) }],
    });
    const found = await books.findOneOrFail({ where: { author: { name: 'Ä. Author' } }, relations: { author: true } });
    assert.deepStrictEqual([found.title, found.tags, found.extra], ["It's $1", ['a', 'b,c', 'ü"'], { deep: [1, null] }]);
    assert.ok(found.cover.equals(Buffer.from([0, 255])));
    assert.strictEqual(found.author.id, saved.id);
    const many = await authors.save([...Array(50).keys()].map((n) => ({ name: `a${n}`, mood: n % 2 ? 'sad' : 'glad' })), { chunk: 20 });
    await books.insert([...Array(500).keys()].map((n) => ({ title: `t${n}`, pages: n, author: many[n % 50] })));
    const [page, count] = await authors.findAndCount({
        where: { books: { pages: MoreThan(100) } }, relations: { books: true }, order: { id: 'ASC' }, take: 5,
    });
    assert.strictEqual(count, 50);
    assert.strictEqual(page[0].books.length, 7);
    const sums = await books.createQueryBuilder('b').select('a.name', 'name').addSelect('sum(b.pages)::int', 'sum')
        .innerJoin('b.author', 'a').where('a.mood = :mood', { mood: 'sad' }).groupBy('a.name').orderBy('sum', 'DESC')
        .limit(2).getRawMany();
    assert.deepStrictEqual(sums, [{ name: 'a49', sum: 2740 }, { name: 'a47', sum: 2720 }]);
    const upserted = await authors.upsert({ name: 'a1', mood: 'glad' }, ['name']);
    assert.strictEqual(upserted.identifiers[0].id, many[1].id);
    found.pages = 9;
    assert.strictEqual((await books.save(found)).version, 2);
    assert.strictEqual((await books.delete({ title: In(['t1', 't2']) })).affected, 2);
    await assert.rejects(authors.insert({ name: 'a1' }), (error) => error instanceof QueryFailedError && error.code === '23505');
    await assert.rejects(books.insert({ title: 'x', pages: -1 }), { code: '23514' });
}

async function transactions(db) {
    const books = db.getRepository(Book);
    await assert.rejects(db.transaction(async (manager) => {
        await manager.insert(Author, { name: 'lost' });
        throw new RangeError('roll back');
    }), RangeError);
    assert.strictEqual(await db.getRepository(Author).countBy({ name: 'lost' }), 0);
    await db.transaction('SERIALIZABLE', async (manager) => {
        assert.deepStrictEqual(await manager.query('SHOW transaction_isolation'), [{ transaction_isolation: 'serializable' }]);
        await manager.insert(Author, { name: 'outer' });
        await assert.rejects(manager.transaction(async (nested) => {  // a savepoint
            await nested.insert(Author, { name: 'inner' });
            throw new RangeError('roll back to the savepoint');
        }), RangeError);
    });
    assert.strictEqual(await db.getRepository(Author).countBy({ name: In(['outer', 'inner']) }), 1);
    const { id } = await books.findOneByOrFail({ title: 't3' });
    await Promise.all([...Array(30).keys()].map(() => db.transaction(async (manager) => {
        const mine = await manager.findOneOrFail(Book, { where: { id }, lock: { mode: 'pessimistic_write' } });
        mine.pages += 1;
        await manager.save(Book, mine);
    })));
    assert.strictEqual((await books.findOneByOrFail({ id })).pages, 33);
}

// stream() is pg-query-stream: a portal that is read in parts.
async function streams(db) {
    const runner = db.createQueryRunner();
    const stream = await runner.stream('SELECT generate_series(1, $1::int) AS n', [1000]);
    let sum = 0;
    for await (const row of stream) {
        sum += row.n;
    }
    assert.strictEqual(sum, 500500);
    await runner.release();
}

async function signalbox(db) {
    const connections = db.getRepository(Connection);
    const main = await connections.findOneByOrFail({ name: 'main' });
    assert.strictEqual(main.type, 'postgres');
    assert.ok(main.created_at instanceof Date);
    await assert.rejects(connections.update({ id: main.id }, { name: 'other' }), { code: '42501' });
}

async function main() {
    const db = await new DataSource({ ...settings, entities: [Author, Book, Connection] }).initialize();
    await migrate(db);
    await synchronize(db);
    await rows(db);
    await transactions(db);
    await streams(db);
    await signalbox(db);
    await db.destroy();
    await assert.rejects(new DataSource({ ...settings, password: 'wrong' }).initialize(), { code: '28P01' });
}

main().then(() => console.log('ok'), (error) => { console.error(error); process.exit(1); });
