"""Random batches, one behind the other in one session, with PostgreSQL as the model.

Under `split` a batch outside of a transaction is what its statements are when they are sent one by
one until the first error, with one ReadyForQuery, positions of the whole text, and the WARNING.
Everything else is what PostgreSQL answers to the same Query.
"""

import random

import pytest

from harness.messages import error_fields
from harness.replies import committed

STATEMENTS = [
    "INSERT INTO ledger VALUES (1, 'a')",
    "INSERT INTO ledger SELECT g, 'ü;' FROM generate_series(1, 3) g",
    "UPDATE ledger SET id = id + 1",
    "DELETE FROM ledger WHERE id = 2",
    "SELECT count(*), sum(id) FROM ledger",
    "SELECT 'größe; ✓' AS \"a;b\" -- c;\n",
    "SELECT /* ; */ $$;$$, E'\\';', U&'\\0061;'",
    "SELECT say('x;')",
    "SHOW work_mem",
    "SET work_mem = '5MB'",
    "SET LOCAL work_mem = '6MB'",
    "RESET work_mem",
    "COPY (SELECT id FROM ledger ORDER BY id LIMIT 2) TO STDOUT",
    "DO $$ BEGIN RAISE NOTICE 'n;'; END $$",
    "VACUUM ledger",
    "SELECT 1/0",
    "SELECT 'ß', nope",
    "TABLE no_such_table",
    "INSERT INTO child VALUES (1)",
    "INSERT INTO parent VALUES (1) ON CONFLICT DO NOTHING",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
]
BLOCKS = ["BEGIN", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE", "COMMIT", "END", "ROLLBACK"]
BLOCKS += ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "ABORT"]
SEPARATORS = [";", "; ", ";;", ";\n-- a; b\n", "; /* ü; /* ; */ */ ;"]


def batches(seed, count):
    """Each is a list of (statement, separator)."""
    choose = random.Random(seed)
    for _ in range(count):
        size = choose.choice([2, 2, 3, 4, 6, 9])
        yield [
            (choose.choice(STATEMENTS if choose.random() < 0.65 else BLOCKS), separator)
            for separator in choose.choices(SEPARATORS, k=size)
        ]


def text_of(batch):
    return "".join(statement + separator for statement, separator in batch)


def shifted(body, offset):
    """An ErrorResponse or NoticeResponse whose position, if any, is `offset` further on."""
    fields = error_fields(body)
    if "P" not in fields:
        return body
    old = b"\0P" + fields["P"].encode() + b"\0"
    return body.replace(old, b"\0P%d\0" % (int(fields["P"]) + offset), 1)


def one_by_one(client, batch):
    """(reply, committed): how the reply to the split batch must read."""
    reply, count, open_count, at, state = [], 0, 0, 0, b"I"
    for statement, separator in batch:
        found = client.query(statement)
        reply += [(k, shifted(b, at) if k in (b"E", b"N") else b) for k, b in found[:-1]]
        at += len(statement + separator)
        state = found[-1][1]
        open_count += 1
        ending = [b[:-1] for k, b in found if k == b"C"]
        if any(k == b"E" for k, _ in found):
            break
        if ending == [b"ROLLBACK"] and not statement.startswith("ROLLBACK TO"):
            open_count = 0  # also where no block was open: it has committed nothing
        elif state == b"I" or ending == [b"COMMIT"]:
            count, open_count = count + open_count, 0
    return reply + [(b"Z", state)], count


def run_model(client, seed, count, is_split):
    state, expected = b"I", []
    for batch in batches(seed, count):
        if is_split and state == b"I":
            reply, done = one_by_one(client, batch)
        else:
            reply, done = client.query(text_of(batch)), None
        state = reply[-1][1]
        expected.append((reply, done))
    client.query("ROLLBACK")
    return expected


def readable(found):
    return [(k, error_fields(b) if k in (b"E", b"N") else b) for k, b in found]


def without_warning(found):
    """The reply and the number of committed statements in its warning."""
    if not any(k == b"E" for k, _ in found):
        return found, None
    count = committed(found)
    return (found if count is None else found[:-2] + found[-1:]), count


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("route", ["split_session", "split_transaction", "split_one"])
def test_split(clients, admin, ledger, route, seed):
    expected = run_model(clients("direct"), seed, 40, is_split=True)
    admin.execute("DELETE FROM ledger; DELETE FROM child; DELETE FROM parent")
    client = clients(route)
    for batch, (reply, done) in zip(batches(seed, 40), expected):
        found, count = without_warning(client.query(text_of(batch)))
        assert readable(found) == readable(reply), text_of(batch)
        assert found == reply
        if any(k == b"E" for k, _ in reply) and done is not None:
            assert (count or 0) == done, text_of(batch)
        else:
            assert count is None


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("route", ["pass_session", "pass_transaction", "split_on_rpc_transaction"])
def test_whole(clients, admin, ledger, route, seed):
    expected = run_model(clients("direct"), seed, 40, is_split=False)
    admin.execute("DELETE FROM ledger; DELETE FROM child; DELETE FROM parent")
    client = clients(route)
    for batch, (reply, _) in zip(batches(seed, 40), expected):
        found = client.query(text_of(batch))
        assert readable(found) == readable(reply), text_of(batch)
        assert found == reply
