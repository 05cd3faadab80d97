"""Who may change connections."""

import pytest

from boxes import ANYONE, HELPER, PLAIN, POSTGRES_PASSWORD, TO, UNCHECKED, create, names, usable
from harness.replies import PROTOCOLS, refused, succeeded


@PROTOCOLS
@pytest.mark.parametrize("user", [PLAIN, HELPER])
def test_not_the_owner(clients, make, box, user, ask):
    name, other = make(), clients(user=user)
    before = box.facts(name)
    for sql in (
        f"ALTER CONNECTION {name} SET (PORT 1) {UNCHECKED}",
        f"ALTER CONNECTION IF EXISTS {name} RESET (PORT) {UNCHECKED}",
        f"ALTER CONNECTION {name} RENAME TO {name}_b",
        f"ALTER CONNECTION {name} OWNER TO {user}",
        f"DROP CONNECTION {name}",
        f"VALIDATE CONNECTION {name}",
    ):
        refused(ask(other, sql), "42501", f"must be owner of connection {name}")
    refused(
        ask(other, f"ALTER CONNECTION main SET (PORT 1) {UNCHECKED}"),
        "42501",
        "must be owner of connection main",
    )
    refused(ask(other, f"CREATE CONNECTION {name}_c {TO} {UNCHECKED}"), "42501")
    assert box.facts(name) == before
    assert name in names(other)
    usable(other)


def test_the_owner_may(clients, client, make, box):
    name, renamed, owner = make(), "owned_by_plain", clients(user=PLAIN)
    succeeded(client.query(f"ALTER CONNECTION {name} OWNER TO {PLAIN}"))
    succeeded(owner.query(f"VALIDATE CONNECTION {name}"), "VALIDATE CONNECTION")
    succeeded(owner.query(f"ALTER CONNECTION {name} SET (PORT 9) {UNCHECKED}"), "ALTER CONNECTION")
    refused(
        clients(user=ANYONE).query(f"DROP CONNECTION {name}"),
        "42501",
        f"must be owner of connection {name}",
    )
    succeeded(client.query(f"ALTER CONNECTION {name} SET (PORT 8) {UNCHECKED}"))
    succeeded(owner.query(f"ALTER CONNECTION {name} RENAME TO {renamed}"))
    assert box.options(renamed)["PORT"] == "8"
    succeeded(owner.query(f"DROP CONNECTION {renamed}"), "DROP CONNECTION")


def test_one_of_the_file_can_be_given_away(clients, client, box):
    """An owner of a connection of the file is kept as an override."""
    succeeded(client.query(f"ALTER CONNECTION spare OWNER TO {PLAIN}"))
    owner = clients(user=PLAIN)
    succeeded(owner.query(f"ALTER CONNECTION spare SET (CONNECT TIMEOUT '4s') {UNCHECKED}"))
    assert box.facts("spare")[3] == PLAIN
    box.restart()
    assert box.facts("spare")[3] == PLAIN


def test_superuser_as_the_server_says(clients, new_name, pg):
    """Counts only where the connection has no user: else all sessions share one role."""
    name = new_name()
    root = clients("own_role", "postgres", password=POSTGRES_PASSWORD)
    succeeded(root.query(create(name, pg.port)), "CREATE CONNECTION")
    shared = clients("as_root", PLAIN)
    assert shared.value("SHOW is_superuser") == "on"
    refused(shared.query(f"DROP CONNECTION {name}"), "42501", f"must be owner of connection {name}")
    plain_root = clients("transaction", "postgres", password=POSTGRES_PASSWORD)
    succeeded(root.query(f"ALTER CONNECTION {name} OWNER TO {PLAIN}"))
    refused(
        plain_root.query(f"DROP CONNECTION {name}"), "42501", f"must be owner of connection {name}"
    )
    succeeded(root.query(f"DROP CONNECTION {name}"), "DROP CONNECTION")
