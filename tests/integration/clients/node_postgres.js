// node-postgres through Signalbox: connection data by the libpq environment, one line `ok` at the end.
'use strict';
const assert = require('assert');
const fs = require('fs');
const { Client, Pool } = require('pg');

const settings = {
    host: 'localhost', port: Number(process.env.PGPORT), user: process.env.PGUSER,
    password: process.env.PGPASSWORD, database: process.env.PGDATABASE,
    ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT, 'utf8') },
};

async function main() {
    const client = new Client({ ...settings, application_name: 'node test' });
    await client.connect();
    assert.ok(client.connection.stream.encrypted, 'not encrypted');
    let result = await client.query('SELECT $1::int + 1 AS n, $2::text AS t, $3::jsonb AS j', [41, 'ä', { a: [1] }]);
    assert.deepStrictEqual(result.rows, [{ n: 42, t: 'ä', j: { a: [1] } }]);
    assert.strictEqual((await client.query('SHOW application_name')).rows[0].application_name, 'node test');

    // Named prepared statements.
    for (let i = 0; i < 10; i++) {
        result = await client.query({ name: 'named', text: 'SELECT $1::int * 2 AS n', values: [i] });
        assert.strictEqual(result.rows[0].n, i * 2);
    }

    // Many at once: the client queues them, the answers keep their order.
    const all = await Promise.all([...Array(200).keys()].map((i) => client.query('SELECT $1::int AS n', [i])));
    assert.deepStrictEqual(all.map((r) => r.rows[0].n), [...Array(200).keys()]);

    // Errors leave the client usable and carry their code.
    await assert.rejects(client.query('SELECT 1/0'), { code: '22012' });
    await assert.rejects(client.query('SELECT $1::int', ['x']), { code: '22P02' });
    await assert.rejects(client.query({ name: 'bad', text: 'SELEKT' }), { code: '42601' });

    // Transactions.
    await client.query('BEGIN');
    await client.query('CREATE TABLE node_rows (id int)');
    await client.query('INSERT INTO node_rows SELECT generate_series(1, 1000)');
    result = await client.query('SELECT count(*)::int AS n FROM node_rows');
    assert.strictEqual(result.rows[0].n, 1000);
    await client.query('ROLLBACK');
    await assert.rejects(client.query('SELECT * FROM node_rows'), { code: '42P01' });

    // Several statements, large results, notices, notifications.
    result = await client.query('SELECT 1 AS a; SELECT 2 AS b');
    assert.deepStrictEqual(result.map((r) => r.rows), [[{ a: 1 }], [{ b: 2 }]]);
    result = await client.query("SELECT repeat('x', 5000000) AS big");
    assert.strictEqual(result.rows[0].big.length, 5000000);
    const notices = [];
    client.on('notice', (notice) => notices.push(notice.message));
    await client.query("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$");
    assert.deepStrictEqual(notices, ['noticed']);
    const heard = new Promise((resolve) => client.on('notification', resolve));
    await client.query('LISTEN node_channel');
    await client.query("NOTIFY node_channel, 'payload'");
    assert.strictEqual((await heard).payload, 'payload');
    await client.end();

    // A pool with more users than connections.
    const pool = new Pool({ ...settings, max: 5 });
    const numbers = await Promise.all([...Array(100).keys()].map((i) => pool.query('SELECT $1::int AS n', [i])));
    assert.deepStrictEqual(numbers.map((r) => r.rows[0].n), [...Array(100).keys()]);
    await pool.end();

    const wrong = new Client({ ...settings, password: 'wrong' });
    await assert.rejects(wrong.connect(), { code: '28P01' });
}

main().then(() => console.log('ok'), (error) => { console.error(error); process.exit(1); });
