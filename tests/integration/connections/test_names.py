"""Host names with several addresses, with others by and by, and with none in time."""

import concurrent.futures
import socket
import time

import pytest

from harness import Postgres, RawClient, eventually, messages
from harness.names import DnsServer, Names
from harness.postgres import ROLES
from harness.raw_client import Scram, ServerError
from harness.signalbox import connection_to, standard_config

# The system orders them (RFC 6724): this one stands before 127.0.0.1, which 127.0.0.9 does not.
FIRST = "::1"
TRUSTING = "local all all trust\nhost all all 127.0.0.0/8 trust\n"


@pytest.fixture
def names(tmp_path):
    return Names(tmp_path)


def config(server, host="db.test", **changes):
    return standard_config(server, connection={"host": host, "port": server.port, **changes})


def server_address(client):
    return client.value("SELECT host(inet_server_addr())")


class Other:
    """Somebody else on the server's port, at another address: closes or never accepts."""

    def __init__(self, address, port, accepts):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(0)
        self.fillers = []
        self.met = 0
        if accepts:
            self.listener.settimeout(0)
        else:  # its queue is full: what comes now waits for an answer
            for _ in range(4):
                filler = socket.socket(family)
                filler.setblocking(False)
                filler.connect_ex((address, port))
                self.fillers.append(filler)

    def close_those_who_came(self):
        try:
            while True:
                self.listener.accept()[0].close()
                self.met += 1
        except BlockingIOError:
            return self.met

    def close(self):
        for each in (*self.fillers, self.listener):
            each.close()


def test_an_address_where_nobody_listens(pg, start_box, names):
    """IPv6 before IPv4, as the system orders them; the next one is tried."""
    names.hosts({"db.test": ["::1", "127.0.0.9", "127.0.0.1", "127.0.0.8"]})
    box = start_box(config(pg), wrapper=names.wrapper())
    for _ in range(3):
        client = box.raw("session")
        assert server_address(client) == "127.0.0.1"
        client.terminate()


def test_an_address_that_hangs_up(pg, start_box, names):
    other = Other(FIRST, pg.port, accepts=True)
    names.hosts({"db.test": [FIRST, "127.0.0.1"]})
    box = start_box(config(pg), wrapper=names.wrapper())
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            client = pool.submit(box.raw, "session")
            # Checks come there, too.
            eventually(lambda: other.close_those_who_came() and client.done(), "the next is tried")
            client = client.result()
        assert server_address(client) == "127.0.0.1"
        client.terminate()
    finally:
        other.close()


def test_an_address_that_does_not_answer(pg, start_box, names):
    """connect_timeout counts for each address."""
    other = Other(FIRST, pg.port, accepts=False)
    names.hosts({"db.test": [FIRST, "127.0.0.1"]})
    box = start_box(config(pg, connect_timeout="1s"), wrapper=names.wrapper())
    try:
        started = time.monotonic()
        client = box.raw("session")
        assert server_address(client) == "127.0.0.1"
        assert 0.9 < time.monotonic() - started < 5
        client.terminate()
    finally:
        other.close()


def test_no_address_will_do(pg, start_box, names):
    names.hosts({"db.test": ["127.0.0.8", "127.0.0.9"]})
    route = {"hold_timeout": "300ms"}
    made = standard_config(pg, route=route, connection={"host": "db.test", "port": pg.port})
    box = start_box(made, wrapper=names.wrapper())
    with pytest.raises(ServerError) as caught:
        box.raw("session")
    assert "Connection refused" in caught.value.fields["M"]
    # A name that is mended is found by those who wait.
    names.hosts({"db.test": ["127.0.0.1"]})
    assert server_address(box.raw("session")) == "127.0.0.1"


@pytest.fixture(scope="module")
def moved(pg):
    """Another server on the same port, at another address."""
    settings = {"listen_addresses": "127.0.0.7", "port": pg.port}
    server = Postgres("moved", settings=settings, hba=TRUSTING, start=False)
    server.port = pg.port
    server.start()
    yield server
    server.remove()


@pytest.mark.parametrize("source", ["hosts", "dns"])
def test_a_name_that_leads_elsewhere(pg, moved, start_box, tmp_path, source):
    """From the next server connection on; those that are open stay."""
    with DnsServer() as dns:
        names = Names(tmp_path, dns)

        def lead_to(address):
            if source == "hosts":
                names.hosts({"db.test": [address]})
            else:
                dns.answers["db.test"] = [address]

        lead_to("127.0.0.1")
        box = start_box(config(pg), wrapper=names.wrapper())
        before = box.raw("session")
        assert server_address(before) == "127.0.0.1"
        lead_to("127.0.0.7")
        after = box.raw("session")
        assert server_address(after) == "127.0.0.7"
        assert server_address(before) == "127.0.0.1"
        lead_to("127.0.0.1")
        assert server_address(box.raw("session")) == "127.0.0.1"
        if source == "dns":
            assert len([each for each in dns.asked if each == ("db.test", 1)]) >= 3


def test_a_server_that_moves_while_clients_wait(pg, moved, start_box, names):
    """The pool's server goes away, and its name leads to the other one: no client notices."""
    settings = {"listen_addresses": "127.0.0.6", "port": pg.port}
    victim = Postgres("moves", settings=settings, hba=TRUSTING, start=False)
    victim.port = pg.port
    victim.start()
    try:
        names.hosts({"db.test": ["127.0.0.6"]})
        box = start_box(config(pg), wrapper=names.wrapper())
        client = box.raw("transaction")
        assert server_address(client) == "127.0.0.6"
        victim.stop()
        names.hosts({"db.test": ["127.0.0.7"]})
        assert server_address(client) == "127.0.0.7"
    finally:
        victim.remove()


def test_names_that_hang_hold_nobody_up(pg, start_box, tmp_path):
    """Six names without an answer: logins through others are as quick as ever, and so is the end."""
    with DnsServer() as dns:
        dns.answers["db.test"] = ["127.0.0.1"]
        slow = [f"slow{number}.test" for number in range(6)]
        dns.silent.update(slow)
        changes = {
            "connections": {
                f"slow{number}": connection_to(pg, {"host": host}) | {"connect_timeout": "30s"}
                for number, host in enumerate(slow)
            }
        }
        routes = {f"slow{number}": {"connection": f"slow{number}"} for number in range(6)}
        made = standard_config(pg, changes, connection={"host": "db.test"}, routes=routes)
        box = start_box(made, wrapper=Names(tmp_path, dns).wrapper())
        waiting = [box_login(box, f"slow{number}") for number in range(6)]
        eventually(lambda: set(slow) <= {name for name, _ in dns.asked}, "all are looked up")
        started = time.monotonic()
        for _ in range(20):
            client = box.raw("session")  # each opens a server connection, by SCRAM
            assert server_address(client) == "127.0.0.1"
            client.terminate()
        assert time.monotonic() - started < 5
        for client in waiting:
            client.expect_silence(0.01)
        assert box.stop() < 5
        for client in waiting:
            client.close()


def box_login(box, database):
    """A client that has sent all that a login needs, and waits."""
    client = RawClient("127.0.0.1", box.port)
    client.send(messages.startup("app", database))
    client.read_message()
    scram = Scram(ROLES["app"])
    first = scram.first()
    size = len(first).to_bytes(4, "big")
    client.send(messages.password(messages.cstring("SCRAM-SHA-256") + size + first))
    client.send(messages.password(scram.final(client.read_message()[1][4:])))
    return client


def test_a_name_that_hangs_is_given_up(pg, start_box, tmp_path):
    with DnsServer() as dns:
        dns.silent.add("db.test")
        route = {"hold_timeout": "1s", "connect_timeout": "300ms"}
        made = standard_config(pg, route=route, connection={"host": "db.test"})
        box = start_box(made, wrapper=Names(tmp_path, dns).wrapper())
        with pytest.raises(ServerError) as caught:
            box.raw("session")
        assert "timeout expired while resolving the host name" in caught.value.fields["M"]
