// node-postgres with every policy: arguments are routes, named <policy>_<pool mode>; `ok` at the end.
'use strict';
const assert = require('assert');
const { Client } = require('pg');

async function batches(route) {
    const policy = route.replace(/_(session|transaction)$/, '');
    const client = new Client({ database: route });
    const notices = [];
    client.on('notice', (notice) => notices.push(notice));
    await client.connect();
    const count = async () => (await client.query('SELECT count(*)::int AS n FROM ledger')).rows[0].n;
    await client.query('DELETE FROM ledger');

    if (policy === 'single') {
        await assert.rejects(client.query('INSERT INTO ledger VALUES (1); SELECT 1'), (error) => error.code === '0A000' && Boolean(error.hint));
        assert.strictEqual(await count(), 0, 'nothing was sent');
    } else {
        const results = await client.query('INSERT INTO ledger VALUES (1); SELECT rpc_count()::int AS n; SELECT 2 AS n');
        assert.deepStrictEqual(results.map((result) => result.command), ['INSERT', 'SELECT', 'SELECT']);
        assert.deepStrictEqual(results[1].rows, [{ n: policy === 'pass' ? 0 : 1 }], route);
        assert.deepStrictEqual(results[2].rows, [{ n: 2 }]);

        await client.query('DELETE FROM ledger');
        const failing = 'INSERT INTO ledger VALUES (1); SELECT 1/0; INSERT INTO ledger VALUES (2)';
        await assert.rejects(client.query(failing), { code: '22012' });
        assert.strictEqual(await count(), policy === 'split' ? 1 : 0, route);
        assert.deepStrictEqual(notices.map((notice) => notice.code), policy === 'split' ? ['01000'] : [], route);

        const blocks = await client.query('SELECT 1 AS n; BEGIN; SELECT 2 AS n; COMMIT; SELECT 3 AS n');
        assert.deepStrictEqual(blocks.filter((result) => result.rows.length).map((result) => result.rows[0].n), [1, 2, 3]);
    }

    const bound = await client.query('SELECT rpc_echo($1) AS n', ['x']);
    assert.deepStrictEqual(bound.rows, [{ n: 'x' }]);
    for (const shown of ['SHOW CONNECTIONS', { text: 'SHOW CONNECTIONS', values: [], name: 'own' }]) {
        assert.ok((await client.query(shown)).rows.some((row) => row.name === 'main'));
    }
    assert.strictEqual((await client.query('SELECT 1 AS n')).rows[0].n, 1);
    await client.end();
}

async function main() {
    for (const route of process.argv.slice(2)) {
        await batches(route);
    }
}

main().then(() => console.log('ok'), (error) => { console.error(error); process.exit(1); });
