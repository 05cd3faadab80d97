// Sequelize through Signalbox: connection data by the libpq environment, one line `ok` at the end.
'use strict';
const assert = require('assert');
const fs = require('fs');
const { DataTypes, Op, QueryTypes, Sequelize, Transaction, ...errors } = require('sequelize');

const statements = [];
const options = {
    host: 'localhost', port: Number(process.env.PGPORT), dialect: 'postgres',
    dialectOptions: {
        ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT, 'utf8') },
        options: `-c search_path=${process.env.SCHEMA}`,
    },
    pool: { max: 5, idle: 500 },
    logging: (text) => statements.push(text),
};
const connect = (password) => new Sequelize(process.env.PGDATABASE, process.env.PGUSER, password, options);

const db = connect(process.env.PGPASSWORD);
const Author = db.define('author', {
    name: { type: DataTypes.STRING(50), allowNull: false, unique: true },
    mood: DataTypes.ENUM('glad', 'sad'),
    born: DataTypes.DATEONLY,
}, { schema: process.env.SCHEMA });
const Book = db.define('book', {
    id: { type: DataTypes.UUID, primaryKey: true, defaultValue: DataTypes.UUIDV4 },
    title: { type: DataTypes.TEXT, allowNull: false },
    tags: { type: DataTypes.ARRAY(DataTypes.TEXT), defaultValue: [] },
    extra: DataTypes.JSONB,
    price: DataTypes.DECIMAL(8, 2),
    lent: DataTypes.RANGE(DataTypes.DATE),
    cover: DataTypes.BLOB,
    pages: { type: DataTypes.INTEGER, defaultValue: 1 },
}, { schema: process.env.SCHEMA, indexes: [{ fields: ['extra'], using: 'gin' }], paranoid: true });
Author.hasMany(Book, { onDelete: 'CASCADE' });
Book.belongsTo(Author);

async function sync() {
    await db.authenticate();
    await db.sync({ force: true });
    await db.sync({ force: true });  // drops and makes everything again, the enum too
    Author.rawAttributes.note = { type: DataTypes.TEXT, defaultValue: 'none' };
    Author.rawAttributes.mood = { type: DataTypes.ENUM('glad', 'sad', 'odd') };
    Author.refreshAttributes();
    await db.sync({ alter: true });  // compares with the catalogs, and adds a column and a value
    const table = { tableName: 'authors', schema: process.env.SCHEMA };
    const columns = await db.getQueryInterface().describeTable(table);
    assert.deepStrictEqual(columns.mood.special, ['glad', 'sad', 'odd']);
    assert.strictEqual(columns.note.type, 'TEXT');
    assert.strictEqual(columns.id.primaryKey, true);
    const books = { tableName: 'books', schema: process.env.SCHEMA };
    const indexes = await db.getQueryInterface().showIndex(books);
    assert.deepStrictEqual(indexes.map((i) => i.name).sort(), ['books_extra', 'books_pkey']);
    const keys = await db.getQueryInterface().getForeignKeyReferencesForTable(books);
    // Each sync() that alters adds the constraint once more: Sequelize's own way.
    assert.deepStrictEqual(new Set(keys.map((k) => `${k.columnName} ${k.referencedTableName}`)), new Set(['authorId authors']));
}

// A migration by hand, as its command line runs it: DDL in one transaction, then back.
async function migrate() {
    const made = { tableName: 'migrated', schema: process.env.SCHEMA };
    const q = db.getQueryInterface();
    await db.transaction(async (transaction) => {
        await q.createTable(made, { id: { type: DataTypes.INTEGER, primaryKey: true } }, { transaction });
        await q.addColumn(made, 'word', { type: DataTypes.STRING }, { transaction });
        await q.addIndex(made, ['word'], { transaction, unique: true, name: 'migrated_word' });
        await q.renameColumn(made, 'word', 'name', { transaction });
        await q.bulkInsert(made, [{ id: 1, name: 'x' }, { id: 2, name: 'y' }], { transaction });
    });
    await assert.rejects(q.bulkInsert(made, [{ id: 3, name: 'x' }]), errors.UniqueConstraintError);
    await q.addIndex(made, ['id', 'name'], { concurrently: true, name: 'migrated_both' });
    await q.changeColumn(made, 'name', { type: DataTypes.TEXT, allowNull: false });
    assert.strictEqual((await q.describeTable(made)).name.type, 'TEXT');
    await q.dropTable(made);
}

async function rows() {
    const lent = [{ value: new Date('2020-01-01'), inclusive: true }, { value: new Date('2020-02-01'), inclusive: false }];
    const author = await Author.create({
        name: 'Ä. Author', mood: 'odd',
        books: [{ title: "It's ? $1 :x", tags: ['a', 'b,c', 'ü"'], extra: { deep: { list: [1, null] } }, lent,
            cover: Buffer.from([0, 255]), price: '12.30' }],
    }, { include: Book });
    const found = await Book.findByPk(author.books[0].id, { include: Author });
    assert.strictEqual(found.author.name, 'Ä. Author');
    assert.deepStrictEqual([found.tags, found.extra, found.price], [['a', 'b,c', 'ü"'], { deep: { list: [1, null] } }, '12.30']);
    assert.deepStrictEqual(found.lent.map((end) => end.value.getTime()), lent.map((end) => end.value.getTime()));
    assert.ok(found.cover.equals(Buffer.from([0, 255])));
    assert.strictEqual(found.title, "It's ? $1 :x");
    assert.strictEqual(await Book.count({ where: { extra: { [Op.contains]: { deep: { list: [1] } } }, tags: { [Op.overlap]: ['a', 'z'] } } }), 1);

    const authors = await Author.bulkCreate([...Array(50).keys()].map((n) => ({ name: `a${n}` })));
    await Book.bulkCreate([...Array(500).keys()].map((n) => ({
        title: `t${n}`, pages: n, authorId: authors[n % 50].id,
    })));
    const [, created] = await Author.findOrCreate({ where: { name: 'a1' } });
    assert.strictEqual(created, false);
    const [, made] = await Author.findOrCreate({ where: { name: 'new' } });
    assert.strictEqual(made, true);
    await Author.upsert({ id: authors[2].id, name: 'a2', mood: 'sad' });
    const page = await Author.findAndCountAll({
        include: [{ model: Book, where: { pages: { [Op.gt]: 100 } } }], order: [['id', 'ASC']], limit: 5, distinct: true,
    });
    assert.strictEqual(page.count, 50);
    assert.strictEqual(page.rows[0].books.length, 7);
    const sums = await Book.findAll({
        attributes: ['authorId', [db.fn('sum', db.col('pages')), 'sum']], group: ['authorId'],
        having: db.where(db.fn('sum', db.col('pages')), Op.gt, 2700), raw: true,
    });
    assert.strictEqual(sums.length, 1 + 3);
    await Book.increment({ pages: 5 }, { where: { title: 't1' } });
    assert.strictEqual((await Book.findOne({ where: { title: 't1' } })).pages, 6);
    const [changed, changedRows] = await Book.update({ pages: 7 }, { where: { title: ['t1', 't2'] }, returning: true });
    assert.deepStrictEqual([changed, changedRows.map((b) => b.pages)], [2, [7, 7]]);
    await found.destroy();
    assert.strictEqual(await Book.count(), 500);
    assert.strictEqual(await Book.count({ paranoid: false }), 501);

    // Replacements stand in the text, bound values travel apart.
    const select = { type: QueryTypes.SELECT };
    assert.deepStrictEqual(await db.query("SELECT :n::int AS n, ':x' AS t", { ...select, replacements: { n: 3 } }), [{ n: 3, t: ':x' }]);
    assert.deepStrictEqual(await db.query('SELECT $1::int AS n, $2::text AS t', { ...select, bind: [4, 'ä'] }), [{ n: 4, t: 'ä' }]);
}

async function transactions() {
    await assert.rejects(db.transaction(async (transaction) => {
        await Author.create({ name: 'lost' }, { transaction });
        throw new RangeError('roll back');
    }), RangeError);
    assert.strictEqual(await Author.count({ where: { name: 'lost' } }), 0);
    await assert.rejects(Author.create({ name: 'a1' }), errors.UniqueConstraintError);
    await assert.rejects(Book.create({ title: 'x', authorId: 1000000 }), errors.ForeignKeyConstraintError);
    await assert.rejects(db.query('SELEKT'), errors.DatabaseError);
    const level = Transaction.ISOLATION_LEVELS.SERIALIZABLE;
    await db.transaction({ isolationLevel: level }, async (transaction) => {
        const [[row]] = await db.query("SELECT current_setting('transaction_isolation') AS level", { transaction });
        assert.strictEqual(row.level, 'serializable');
    });
    const outer = await db.transaction();
    await Author.create({ name: 'outer' }, { transaction: outer });
    const inner = await db.transaction({ transaction: outer });  // a savepoint
    await Author.create({ name: 'inner' }, { transaction: inner });
    await inner.rollback();
    await outer.commit();
    assert.strictEqual(await Author.count({ where: { name: ['outer', 'inner'] } }), 1);

    // Many at once that wait for each other's row.
    const book = await Book.findOne({ where: { title: 't3' } });
    await Promise.all([...Array(30).keys()].map(() => db.transaction(async (transaction) => {
        const mine = await Book.findByPk(book.id, { transaction, lock: transaction.LOCK.UPDATE });
        await mine.update({ pages: mine.pages + 1 }, { transaction });
    })));
    assert.strictEqual((await book.reload()).pages, 33);
}

async function signalbox() {
    const Connection = db.define('connection', {
        id: { type: DataTypes.TEXT, primaryKey: true }, name: DataTypes.TEXT, type: DataTypes.TEXT,
        created_at: DataTypes.DATE,
    }, { schema: 'mz_catalog', tableName: 'mz_connections', timestamps: false });
    const main = await Connection.findOne({ where: { name: 'main' } });
    assert.strictEqual(main.type, 'postgres');
    assert.ok(main.created_at instanceof Date);
    await assert.rejects(main.update({ name: 'other' }), (error) => error.original.code === '42501');
}

async function main() {
    await sync();
    await migrate();
    await rows();
    await transactions();
    await signalbox();
    await Book.drop();
    await Author.drop();
    await assert.rejects(db.drop(), (error) => error.original.code === '42501');  // Signalbox's table, too
    await db.close();
    const wrong = connect('wrong');
    await assert.rejects(wrong.authenticate(), (error) => error.original.code === '28P01');
    await wrong.close();
}

main().then(() => console.log('ok'), (error) => { console.error(error, statements.slice(-3)); process.exit(1); });
