"""max_memory: the buffers of all sessions together, and who ends when they are full."""

from harness import RawClient, eventually
from harness.messages import query
from harness.postgres import ROLES
from harness.signalbox import standard_config


def test_the_session_that_wants_more_ends(pg, start_box):
    """Slow readers fill the buffers; one ends with 53200 or is cut off in its row, the others go on."""
    box = start_box(standard_config(pg, {"listen": {"max_memory": "600KiB"}}))
    quick = box.raw("transaction")
    slow = []
    for _ in range(8):
        client = RawClient("127.0.0.1", box.port)
        client.login("app", "transaction", ROLES["app"])
        client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 40000)"))
        slow.append(client)
    eventually(
        lambda: "out of memory for the buffers of all sessions" in box.log_text(),
        "the limit is met",
    )
    assert quick.value("SELECT 'still here'") == "still here"
    assert box.log_text().count("out of memory for the buffers of all sessions") < len(slow)


def test_no_limit_is_the_default(box):
    client = box.raw("transaction")
    assert len(client.query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)")) > 20000
