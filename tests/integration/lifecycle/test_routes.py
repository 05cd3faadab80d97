"""From the database name that a client asks for to a connection and a database of a server."""

import pytest

from harness import Signalbox
from harness.raw_client import ServerError
from harness.signalbox import standard_config


@pytest.fixture(scope="module")
def box(pg):
    server = {"type": "postgres", "host": "127.0.0.1", "port": pg.port, "user": "app"}
    connections = {
        "shard_app": {**server, "password": "app"},
        "shard_other": {**server, "user": "other", "password": "other"},
    }
    config = standard_config(pg, {"connections": connections})
    config["routes"] += [
        {
            "pattern": r"tenant_(app|other|third)(_\d+)?",
            "connection": r"shard_\1",
            "backend_database": r"\1",
        },
        {"pattern": "tenant_.*", "connection": "main", "backend_database": "app"},
        {"database": "tenant_other_7", "connection": "main", "backend_database": "app"},
    ]
    with Signalbox(config) as process:
        yield process


@pytest.mark.parametrize(
    "asked, database, user",
    [
        ("tenant_app", "app", "app"),
        ("tenant_app_12", "app", "app"),
        ("tenant_other", "other", "other"),
        ("tenant_other_7", "app", "app"),  # an exact name wins, wherever it stands
        ("tenant_others", "app", "app"),  # the second pattern: the first is not for the whole name
    ],
)
def test_names_and_patterns(box, asked, database, user):
    client = box.raw(asked)
    found = client.rows("SELECT current_database(), current_user")
    assert found == [(database, user)]
    client.terminate()


@pytest.mark.parametrize("asked", ["my_tenant_app", "tenant", "TENANT_APP"])
def test_names_that_lead_nowhere(box, asked):
    with pytest.raises(ServerError) as caught:
        box.raw(asked)
    assert caught.value.code == "3D000"


def test_a_pattern_may_name_a_connection_that_is_not_there(box):
    with pytest.raises(ServerError) as caught:
        box.raw("tenant_third")
    assert (caught.value.fields["V"], caught.value.code) == ("FATAL", "57P03")
    assert 'connection "shard_third" does not exist' in caught.value.fields["M"]
