"""How Signalbox logs in to the server: methods, sslmodes, pass-through, and bent SCRAM servers."""

import ssl

import pytest

from harness import FakeServer, Postgres, RawClient, ScramServer, messages
from harness.certs import Certificates
from harness.postgres import ROLES
from harness.processes import cpu_seconds
from harness.raw_client import ServerError, tls_context
from harness.signalbox import standard_config

SHORT = {"hold_timeout": "2s", "connect_timeout": "1s"}


def connection_to(user, **more):
    password = {"password": user} if ROLES.get(user) else {"password": None}
    return {"user": user, **password, **more}


def works(box, database="transaction"):
    """The server's own name for who has logged in, or the error."""
    try:
        client = box.raw(database)
    except ServerError as error:
        return error
    try:
        found = client.query("SELECT current_user")
        errors = [body for kind, body in found if kind == b"E"]
        return (
            ServerError({"M": errors[0].decode()})
            if errors
            else client.value("SELECT current_user")
        )
    finally:
        client.terminate()


@pytest.mark.parametrize("user", ["trust_user", "password_user", "md5_user", "scram_user"])
def test_methods(pg, start_box, user):
    box = start_box(standard_config(pg, connection=connection_to(user)))
    assert works(box) == user
    assert works(box, "session") == user


def test_certificate(pg, start_box):
    certificate, key = pg.certificates.client("cert_user")
    connection = connection_to(
        "cert_user",
        ssl_mode="verify-full",
        ssl_certificate_authority=str(pg.certificates.ca),
        ssl_certificate=str(certificate),
        ssl_key="cert_key",
        host="localhost",
    )
    changes = {"secrets": {"cert_key": {"file": str(key)}}}
    box = start_box(standard_config(pg, changes, connection=connection))
    assert works(box) == "cert_user"


@pytest.mark.parametrize("user", ["password_user", "md5_user", "scram_user"])
def test_wrong_passwords_fail_in_the_servers_words(pg, start_box, user):
    """Not a target that is down: nobody is held for that."""
    changes = {"secrets": {user: {"value": "wrong"}}}
    box = start_box(standard_config(pg, changes, connection=connection_to(user), route=SHORT))
    error = works(box)
    assert isinstance(error, ServerError)
    assert "wrong" not in box.log_text()
    assert f'"{user}"' in str(error.fields.get("M")), error.fields


# --- sslmodes, against a server with and without TLS


@pytest.fixture(scope="module")
def plain_pg():
    with Postgres("without-tls", settings={"ssl": "off"}) as server:
        yield server


def uses_tls(box):
    client = box.raw("transaction")
    try:
        return client.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
    finally:
        client.terminate()


def test_sslmodes_with_tls(pg, start_box):
    expected = {"disable": False, "allow": False, "prefer": True, "require": True}
    routes, connections = {}, {}
    for mode in (*expected, "verify-ca", "verify-full"):
        ca = {"ssl_certificate_authority": str(pg.certificates.ca)} if "verify" in mode else {}
        connections[mode] = {
            "type": "postgres",
            "host": "localhost",
            "port": pg.port,
            "user": "app",
            "password": "app",
            "ssl_mode": mode,
            **ca,
        }
        routes[mode] = {"connection": mode}
    box = start_box(standard_config(pg, {"connections": connections}, routes=routes))
    for mode in connections:
        client = box.raw(mode)
        found = client.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
        assert found == expected.get(mode, True), mode
        client.terminate()


@pytest.mark.parametrize(
    "mode, ok",
    [
        ("disable", True),
        ("allow", True),
        ("prefer", True),
        ("require", False),
        ("verify-full", False),
    ],
)
def test_sslmodes_without_tls(plain_pg, start_box, mode, ok):
    connection = {"ssl_mode": mode}
    if mode == "verify-full":
        connection["ssl_certificate_authority"] = str(plain_pg.certificates.ca)
    box = start_box(standard_config(plain_pg, connection=connection, route=SHORT))
    if ok:
        assert uses_tls(box) is False
    else:
        assert isinstance(works(box), ServerError)


def test_fallbacks(pg, start_box):
    """allow: plain first, TLS when that is refused; prefer: the other way round."""
    routes, connections = {}, {}
    for mode, user in (("allow", "ssl_user"), ("prefer", "nossl_user")):
        connections[mode] = {
            "type": "postgres",
            "host": "127.0.0.1",
            "port": pg.port,
            "user": user,
            "password": user,
            "ssl_mode": mode,
        }
        routes[mode] = {"connection": mode}
    box = start_box(standard_config(pg, {"connections": connections}, routes=routes))
    for mode, user in (("allow", "ssl_user"), ("prefer", "nossl_user")):
        assert works(box, mode) == user


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_verification_of_a_foreign_ca(pg, start_box, tmp_path, mode):
    foreign = Certificates(tmp_path, "foreign").ca
    connection = {"ssl_mode": mode, "ssl_certificate_authority": str(foreign)}
    box = start_box(standard_config(pg, connection=connection, route=SHORT))
    assert isinstance(works(box), ServerError)


def test_verify_full_minds_the_host_name(start_box, tmp_path):
    """A certificate for another name passes verify-ca and fails verify-full."""
    authority = Certificates(tmp_path, "names")
    pair = authority.server("elsewhere", "elsewhere.example", alt="DNS:elsewhere.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, pair))
    with FakeServer(tls=context) as server:
        for mode, ok in (("verify-ca", True), ("verify-full", False)):
            connection = {"ssl_mode": mode, "ssl_certificate_authority": str(authority.ca)}
            box = start_box(standard_config(server, connection=connection, route=SHORT))
            assert isinstance(works(box), ServerError) != ok, mode


# --- auth_query and pass-through


AUTH = {"auth_query": "default", "auth_user": "reader", "auth_password": "reader"}
CUSTOM = {**AUTH, "auth_query": "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1"}


@pytest.mark.parametrize("route", [AUTH, CUSTOM], ids=["default", "sql"])
def test_auth_query_passes_scram_through(pg, start_box, mode, route):
    """No password of a user is stored anywhere: his SCRAM keys open the server."""
    config = standard_config(
        pg, {"users": None}, route=route, connection={"user": None, "password": None}
    )
    config["secrets"] = {"reader": {"value": ROLES["reader"]}}
    box = start_box(config)
    for user in ("scram_user", "app", "other"):
        client = box.raw(mode, user=user)
        assert client.value("SELECT current_user") == user
        client.terminate()
        with pytest.raises(ServerError) as caught:
            box.raw(mode, user=user, password="wrong")
        assert caught.value.code == "28P01"
    with pytest.raises(ServerError) as caught:
        box.raw(mode, user="no_such_role", password="x")
    assert caught.value.code == "28P01"
    for secret in ROLES.values():
        assert not secret or secret not in box.log_text()


def test_a_login_without_a_password_loses_no_keys(private_pg, start_box):
    """Trusted clients use the keys of another's login for new server connections."""
    config = standard_config(
        private_pg, {"users": None}, route=AUTH, connection={"user": None, "password": None}
    )
    config["secrets"] = {"reader": {"value": ROLES["reader"]}}
    rule = {"database": "all", "user": "app", "address": "all"}
    config["auth"]["rules"] = [
        {"type": "hostssl", "method": "scram-sha-256", **rule},
        {"type": "hostnossl", "method": "trust", **rule},
    ]
    box = start_box(config)
    box.raw("transaction", tls=tls_context()).terminate()
    trusted = box.raw("transaction")
    private_pg.admin(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'"
    )
    assert trusted.value("SELECT current_user") == "app"
    trusted.terminate()


def test_a_flood_before_the_login_is_answered_ends_it(private_pg, start_box):
    config = standard_config(
        private_pg, {"users": None}, route=AUTH, connection={"user": None, "password": None}
    )
    box = start_box(config)
    private_pg.freeze()
    try:
        client = RawClient("127.0.0.1", box.port)
        client.send(messages.startup("scram_user", "transaction") + b"p" * 20_000)
        kind, body = client.read_message()
        assert kind == b"E"
        assert messages.error_fields(body)["C"] == "08P01"
    finally:
        private_pg.thaw()


def test_auth_query_sees_a_changed_password(private_pg, start_box):
    """No restart and no reload is needed when a role's password changes on the server."""
    config = standard_config(
        private_pg, {"users": None}, route=AUTH, connection={"user": None, "password": None}
    )
    box = start_box(config)
    box.raw("transaction").terminate()
    private_pg.admin("ALTER ROLE app PASSWORD 'changed-Pw-000'")
    client = box.raw("transaction", password="changed-Pw-000")
    assert client.value("SELECT 1") == "1"
    client.terminate()
    with pytest.raises(ServerError):
        box.raw("transaction", password=ROLES["app"])


def test_a_reload_changes_the_password_of_auth_query(private_pg, start_box):
    config = standard_config(
        private_pg, {"users": None}, route=AUTH, connection={"user": None, "password": None}
    )
    box = start_box(config)
    box.raw("transaction").terminate()
    private_pg.admin("ALTER ROLE reader PASSWORD 'changed-Pw-001'")
    private_pg.admin(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'reader'"
    )
    config["secrets"]["reader"] = {"value": "changed-Pw-001"}
    box.reload(config)
    box.wait_log("configuration reloaded")
    assert box.raw("transaction").value("SELECT 1") == "1"


def test_auth_query_with_users_of_the_configuration(pg, start_box):
    """The configuration comes first; auth_query serves the others."""
    config = standard_config(pg, route=AUTH)
    config["users"] = [{"name": "app", "password": "other"}]
    config["connections"]["main"].update(user="app", password="app")
    box = start_box(config)
    box.raw("transaction", user="app", password=ROLES["other"]).terminate()
    box.raw("transaction", user="scram_user").terminate()


def test_auth_query_that_fails_lets_nobody_in(pg, start_box):
    for query in (
        "SELECT nonsense($1)",
        "SELECT rolname, NULL FROM pg_roles WHERE rolname = $1",
        "SELECT rolname, rolpassword FROM pg_authid WHERE rolname <> $1",
        "SELECT $1::text, ''",
        "DELETE FROM pg_authid WHERE rolname = $1 RETURNING rolname, rolpassword",
    ):
        config = standard_config(pg, {"users": None}, route={**AUTH, **SHORT, "auth_query": query})
        box = start_box(config)
        with pytest.raises(ServerError):
            box.raw("transaction", user="scram_user")
        box.stop()


# --- bent SCRAM servers


@pytest.fixture
def scram_box(start_box):
    servers = []

    def start(**options):
        scram = ScramServer(ROLES["app"], **options)
        server = FakeServer(authenticate=scram.authenticate)
        servers.append(server)
        return scram, start_box(standard_config(server, route=SHORT))

    yield start
    for server in servers:
        server.close()
        assert not server.errors, "\n".join(server.errors)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"salt": b"\0"},
        {"salt": b"\xff" * 3},
        {"salt": b"s" * 500},
        {"iterations": 1},
        {"iterations": 20000},
        {"nonce": "x"},
        {"nonce": "n" * 1000},
        {"nonce": "!#$%&'()*+-./:;<=>?@[]^_`{|}~"},
        {"mechanisms": ("OTHER", "SCRAM-SHA-256", "SCRAM-SHA-512")},
        {"edit_first": lambda text: text + ",x=an extension"},
        {"edit_final": lambda text: text + ",x=an extension"},
    ],
    ids=lambda options: "-".join(options),
)
def test_odd_but_right_scram_servers(scram_box, options):
    scram, box = scram_box(**options)
    assert works(box) == "x"  # what FakeServer answers
    assert scram.proofs and all(scram.proofs)
    assert set(scram.chosen) == {"SCRAM-SHA-256"}


def test_keys_are_derived_once(start_box):
    """Every connection of a pool is asked for the same proof: the work is done for the first."""
    scram = ScramServer(ROLES["app"], iterations=500_000)
    with FakeServer(authenticate=scram.authenticate) as server:
        changes = {"availability": {"interval": "0"}}
        box = start_box(standard_config(server, changes, route={"connect_timeout": "60s"}))
        costs = []
        for count in (1, 4):
            before = cpu_seconds(box.pid)
            for client in [box.raw("transaction", timeout=60) for _ in range(count)]:
                client.query("BEGIN")
            costs.append(cpu_seconds(box.pid) - before)
        assert len(scram.proofs) >= 5 and all(scram.proofs)
        assert costs[0] > 0.05, costs
        assert costs[1] < costs[0], costs


@pytest.mark.parametrize(
    "options",
    [
        {"mechanisms": ()},
        {"mechanisms": ("SCRAM-SHA-256-PLUS",)},
        {"mechanisms": ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")},  # over plain TCP
        {"nonce": ""},
        {"iterations": 0},
        {"iterations": -1},
        {"iterations": 2_000_000_000},
        {"edit_first": lambda text: ""},
        {"edit_first": lambda text: "r=stranger,s=c2FsdA==,i=4096"},
        {"edit_first": lambda text: text.replace(",i=4096", "")},
        {"edit_first": lambda text: text.replace("i=4096", "i=many")},
        {"edit_first": lambda text: text.replace("i=4096", "i=4096junk")},
        {"edit_first": lambda text: text.partition(",s=")[0] + ",i=4096"},
        {"edit_first": lambda text: text.partition(",s=")[0] + ",s=,i=4096"},
        {"edit_first": lambda text: text.partition(",s=")[0] + ",s=***,i=4096"},
        {"edit_first": lambda text: "m=must," + text},
        {"edit_final": lambda text: "v=" + "A" * 43 + "="},
        {"edit_final": lambda text: "v="},
        {"edit_final": lambda text: ""},
        {"edit_final": lambda text: "e=other-error"},
    ],
    ids=lambda options: "-".join(options),
)
def test_wrong_scram_servers_are_refused(scram_box, options):
    """A server that cannot prove that it knows the password gets no statement."""
    if options.get("iterations", 1) > 1_000_000:
        # The script itself could not compute that many rounds: it only has to announce them.
        options = {"edit_first": lambda text: text.replace("i=4096", "i=2000000000")}
    scram, box = scram_box(**options)
    assert isinstance(works(box), ServerError)
    assert box.process.poll() is None
    assert ROLES["app"] not in box.log_text()


def test_ok_without_a_proof_is_refused(start_box):
    """AuthenticationOk in the middle of SCRAM: libpq's require_auth lesson."""

    def liar(session):
        session.send(messages.authentication(10, b"SCRAM-SHA-256\0\0"))
        session.read_message()
        session.greet()
        return True

    with FakeServer(authenticate=liar) as server:
        box = start_box(standard_config(server, route=SHORT))
        assert isinstance(works(box), ServerError)


def test_unknown_methods_of_the_server(start_box):
    def kerberos(session):
        session.send(messages.authentication(7))
        session.read_to_end(5)
        return False

    with FakeServer(authenticate=kerberos) as server:
        box = start_box(standard_config(server, route=SHORT))
        assert isinstance(works(box), ServerError)
