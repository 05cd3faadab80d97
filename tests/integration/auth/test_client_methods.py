"""How clients log in: every method, every TLS mode, and what a stranger learns (nothing)."""

import base64
import hashlib
import hmac
import ssl
import statistics
import struct
import time

import psycopg
import pytest

from harness import ConnectionClosed, RawClient, Signalbox, messages
from harness.postgres import ROLES
from harness.processes import cpu_seconds
from harness.raw_client import Scram, ServerError, md5, tls_context
from harness.signalbox import client_certificates, merge, standard_config

METHODS = ["trust", "password", "md5", "scram-sha-256", "cert"]


def verifier(password, salt=b"saltsaltsaltsalt", rounds=4096):
    """PostgreSQL's form of a stored SCRAM secret."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    b64 = [base64.b64encode(data).decode() for data in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{b64[0]}${b64[1]}:{b64[2]}"


def config_with_rules(pg):
    """Every method at once: the name of a user says how he logs in."""
    names = {
        "trust_client": "trust",
        "password_client": "password",
        "md5_client": "md5",
        "scram_client": "scram-sha-256",
        "cert_client": "cert",
        "app": "scram-sha-256",
        "verifier_client": "scram-sha-256",
        "md5_verifier_client": "md5",
    }
    users = [{"name": name, "password": "app"} for name in names if "verifier" not in name]
    users.append({"name": "verifier_client", "verifier": verifier(ROLES["app"])})
    digest = hashlib.md5((ROLES["app"] + "md5_verifier_client").encode()).hexdigest()
    users.append({"name": "md5_verifier_client", "verifier": "md5" + digest})
    rules = [
        {"type": "host", "database": "all", "user": name, "address": "all", "method": method}
        for name, method in names.items()
    ]
    rules.insert(
        0,
        {
            "type": "host",
            "database": "statement",
            "user": "app",
            "address": "127.0.0.0/8",
            "method": "trust",
        },
    )
    rules.append({"type": "hostssl", "database": "all", "user": "tls_client", "method": "trust"})
    users.append({"name": "tls_client", "password": "app"})
    return standard_config(
        pg, {"auth": {"method": "scram-sha-256", "rules": rules}, "users": users}
    )


@pytest.fixture(scope="module")
def box(pg):
    with Signalbox(config_with_rules(pg)) as process:
        yield process


def client_context(user=None, ca=True):
    own = client_certificates().client(user) if user else None
    return tls_context(client_certificates().ca if ca else None, client=own)


ASKED = {"trust": 0, "cert": 0, "password": 3, "md5": 5, "scram-sha-256": 10}


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "user, method",
    [
        ("trust_client", "trust"),
        ("password_client", "password"),
        ("md5_client", "md5"),
        ("md5_verifier_client", "md5"),
        ("scram_client", "scram-sha-256"),
        ("verifier_client", "scram-sha-256"),
    ],
)
def test_methods(box, mode, user, method, tls):
    client = box.raw(mode, user=user, password=ROLES["app"], tls=client_context() if tls else None)
    asked = [struct.unpack_from("!i", body)[0] for kind, body in client.log if kind == b"R"]
    assert asked[0] == ASKED[method]
    assert client.value("SELECT current_user") == "app"
    client.terminate()
    if method != "trust":
        with pytest.raises(ServerError) as caught:
            box.raw(mode, user=user, password="wrong", tls=client_context() if tls else None)
        fields = caught.value.fields
        assert (fields["S"], fields["V"], fields["C"]) == ("FATAL", "FATAL", "28P01")
        assert fields["M"] == f'password authentication failed for user "{user}"'


def test_certificates(box):
    good = box.raw("transaction", user="cert_client", tls=client_context("cert_client"))
    assert good.value("SELECT 1") == "1"
    good.terminate()
    for context in (client_context("somebody_else"), client_context(), None):
        with pytest.raises((ServerError, ConnectionClosed, ssl.SSLError)) as caught:
            box.raw("transaction", user="cert_client", tls=context)
        if isinstance(caught.value, ServerError):
            assert caught.value.fields["V"] == "FATAL" and caught.value.code.startswith("28")


MAPS = [
    {"name": "people", "system_username": "Jane Doe", "database_username": "app"},
    {"name": "people", "system_username": "Jane Doe", "database_username": "other"},
    {
        "name": "people",
        "system_username": r"/^(.*)@example\.com$",
        "database_username": r"\1",
    },
    {"name": "ops", "system_username": "/^ops", "database_username": "all"},
]


@pytest.fixture(scope="module", params=["prefer", "verify-full"])
def mapped_box(pg, request):
    """In verify-full the name has to be right, too: the mapped one is."""
    rule = {"type": "hostssl", "database": "all", "address": "all", "method": "cert"}
    rules = [
        {**rule, "database": "session", "user": "all", "map": "ops"},
        {**rule, "database": "statement", "user": "all"},
        {**rule, "user": "all", "map": "people"},
    ]
    changes = {"tls": {"mode": request.param}, "auth": {"rules": rules, "maps": MAPS}}
    with Signalbox(standard_config(pg, changes)) as process:
        yield process


@pytest.mark.parametrize(
    "database, certificate, user, allowed",
    [
        ("transaction", "Jane Doe", "app", True),
        ("transaction", "Jane Doe", "other", True),
        ("transaction", "Jane Doe", "scram_user", False),
        ("transaction", "Jane Doe", "Jane Doe", False),  # a map has no entry of its own
        ("transaction", "app", "app", False),
        ("transaction", "app@example.com", "app", True),
        ("transaction", "app@example.com", "other", False),
        ("transaction", "app@example.community", "app", False),
        ("transaction", "all@example.com", "app", False),
        ("session", "ops-1", "app", True),
        ("session", "ops-1", "other", True),
        ("session", "Jane Doe", "app", False),
        ("statement", "app", "app", True),  # without a map: the name itself
        ("statement", "Jane Doe", "app", False),
    ],
)
def test_maps_of_names(mapped_box, database, certificate, user, allowed):
    context = client_context(certificate)
    if allowed:
        client = mapped_box.raw(database, user=user, tls=context)
        assert client.value("SELECT 1") == "1"
        return
    with pytest.raises(ServerError) as caught:
        mapped_box.raw(database, user=user, tls=context)
    fields = caught.value.fields
    assert (fields["V"], fields["C"]) == ("FATAL", "28000")
    assert fields["M"] == f'certificate authentication failed for user "{user}"'
    if database != "statement":
        mapped_box.wait_log(f'no entry of .*user="?{user}"? .*{certificate}')


def test_a_map_needs_a_certificate(mapped_box):
    with pytest.raises((ServerError, ConnectionClosed, ssl.SSLError)):
        mapped_box.raw("transaction", tls=client_context())


def test_rules_are_read_in_order(box):
    """`app` is trusted on one database and needs his password on the others."""
    box.raw("statement", user="app", password="anything").terminate()
    with pytest.raises(ServerError):
        box.raw("transaction", user="app", password="anything")
    box.raw("transaction", user="tls_client", password="anything", tls=client_context()).terminate()
    with pytest.raises(ServerError):
        box.raw("transaction", user="tls_client", password="anything")


def conversation(port, user, password, answer):
    """All bytes that the server sends in a login that fails, with what is random in them masked."""
    client = RawClient("127.0.0.1", port)
    client.send(messages.startup(user, "transaction"))
    out = []
    scram = Scram(password, nonce="fixed-nonce-of-the-test")
    while True:
        try:
            kind, body = client.read_message()
        except ConnectionClosed:
            client.close()
            return out
        if kind == b"R":
            (code,) = struct.unpack_from("!i", body)
            data = body[4:]
            if code == 5:
                out.append((kind, code, len(data)))
                client.send(messages.password(messages.cstring(md5(user, password, data))))
            elif code == 3:
                out.append((kind, code, data))
                client.send(messages.password(messages.cstring(password)))
            elif code == 10:
                out.append((kind, code, data))
                first = scram.first()
                client.send(
                    messages.password(
                        messages.cstring("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first
                    )
                )
            elif code == 11:
                fields = dict(part.split("=", 1) for part in data.decode().split(","))
                out.append(
                    (
                        kind,
                        code,
                        sorted(fields),
                        fields["i"],
                        {k: len(v) for k, v in fields.items()},
                    )
                )
                client.send(messages.password(scram.final(data)))
                answer.append(fields["s"])
            else:
                out.append((kind, code, data))
        else:
            out.append((kind, body.replace(user.encode(), b"USER")))


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_unknown_users_and_wrong_passwords_look_alike(pg, start_box, method):
    """The same messages, of the same lengths, with the same text; and the same salt every time."""
    box = start_box(standard_config(pg, {"auth": {"method": method}}))
    salts = {"app": [], "nobody": []}
    known = conversation(box.port, "app", "wrong", salts["app"])
    unknown = conversation(box.port, "nobody", "wrong", salts["nobody"])
    assert unknown == known
    assert b"28P01" in known[-1][1]
    # A salt that changes with every try would tell that there is no such user.
    conversation(box.port, "nobody", "wrong", salts["nobody"])
    conversation(box.port, "app", "wrong", salts["app"])
    tries = 2 if method == "scram-sha-256" else 0  # the others have none, or a new one each time
    for seen in salts.values():
        assert len(seen) == tries and len(set(seen)) == min(tries, 1)
    # Two unknown users do not share one either.
    other = []
    conversation(box.port, "nobody_else", "wrong", other)
    assert len(other) == tries // 2 and not set(other) & set(salts["nobody"])


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_unknown_users_take_the_same_time(pg, start_box, method):
    """Medians over interleaved tries; a factor of two is more than noise, and less than PBKDF2."""
    box = start_box(standard_config(pg, {"auth": {"method": method}}))
    times = {"app": [], "no_such_user": []}
    for _ in range(15):
        for user, found in times.items():
            started = time.perf_counter()
            conversation(box.port, user, "wrong", [])
            found.append(time.perf_counter() - started)
    known, unknown = (statistics.median(found) for found in times.values())
    assert 0.5 < known / unknown < 2, (known, unknown)


# The most that a verifier may have: a derivation takes long enough to be seen.
ROUNDS = 1_000_000


@pytest.fixture
def slow_box(pg, start_box):
    """One worker, passwords in clear text, and a verifier that costs much to check."""
    users = [
        {"name": "app", "password": "app"},
        {"name": "slow", "verifier": verifier(ROLES["app"], rounds=ROUNDS)},
    ]
    changes = {"listen": {"workers": 1}, "auth": {"method": "password"}, "users": users}
    return start_box(standard_config(pg, changes))


def test_a_password_is_checked_off_the_event_loop(slow_box):
    """The only worker answers others while a password is being checked."""
    other = slow_box.raw("transaction")

    def answered_meanwhile():
        with RawClient("127.0.0.1", slow_box.port, timeout=60) as client:
            client.send(messages.startup("slow", "transaction"))
            assert client.read_message()[0] == b"R"
            client.send(messages.password(messages.cstring("wrong")))
            client.expect_silence(0.03)  # the check has begun
            assert other.value("SELECT 1") == "1"
            try:
                client.expect_silence(0.001)
            except AssertionError:
                return False
            assert messages.error_fields(client.read_message()[1])["C"] == "28P01"
            return True

    # On a loaded machine one answer may take longer than a derivation; on the loop, each would.
    assert any(answered_meanwhile() for _ in range(5))


def test_a_right_password_is_derived_once(slow_box):
    """By processor time: that of ten further logins is less than the first one's."""
    costs = []
    for count in (1, 10):
        before = cpu_seconds(slow_box.pid)
        for _ in range(count):
            slow_box.raw("transaction", user="slow", password=ROLES["app"], timeout=60).terminate()
        costs.append(cpu_seconds(slow_box.pid) - before)
    assert costs[0] > 0.05, costs
    assert costs[1] < costs[0], costs


def test_unknown_database(box):
    """Only after the authentication: a stranger learns no names."""
    with pytest.raises(ServerError) as caught:
        box.raw("no_such_database")
    fields = caught.value.fields
    assert (fields["V"], fields["C"]) == ("FATAL", "3D000")
    assert fields["M"] == 'database "no_such_database" does not exist'
    with pytest.raises(ServerError) as caught:
        box.raw("no_such_database", password="wrong")
    assert caught.value.code == "28P01"


def test_the_database_defaults_to_the_user(pg, start_box):
    box = start_box(standard_config(pg, routes={"app": {"pool_mode": "transaction"}}))
    client = RawClient("127.0.0.1", box.port)
    client.send(messages.startup("app"))
    client.authenticate("app", ROLES["app"])
    assert client.value("SELECT current_database()") == "app"
    client.terminate()


def test_no_user_at_all(box):
    client = RawClient("127.0.0.1", box.port)
    client.send(messages.startup(None, "transaction"))
    kind, body = client.read_message()
    fields = messages.error_fields(body)
    assert kind == b"E" and fields["V"] == "FATAL" and fields["C"] == "28000", fields
    client.expect_closed()


# --- TLS modes


@pytest.fixture(scope="module")
def tls_boxes(pg):
    started = {}
    yield lambda mode: started.setdefault(mode, Signalbox(tls_config(pg, mode)))
    for box in started.values():
        box.stop()


def tls_config(pg, mode, **more):
    config = standard_config(pg, {"tls": {"mode": mode, **more}})
    return merge(config, {"auth": {"method": "scram-sha-256"}})


def attempt(box, tls):
    """'ok', or the SQLSTATE, or 'tls' when it fails below the protocol."""
    try:
        client = box.raw("transaction", tls=tls)
        assert client.value("SELECT 1") == "1"
        client.terminate()
        return "ok"
    except ServerError as error:
        return error.code
    except (ConnectionClosed, ssl.SSLError, ConnectionError):
        return "tls"
    except AssertionError as error:
        return "refused" if "TLS refused" in str(error) else repr(error)


@pytest.mark.parametrize(
    "tls_mode, plain, encrypted, with_certificate",
    [
        ("off", "ok", "refused", "refused"),
        ("prefer", "ok", "ok", "ok"),
        ("require", "28000", "ok", "ok"),
        ("verify-ca", "28000", "no", "ok"),
        ("verify-full", "28000", "no", "ok"),
    ],
)
def test_tls_modes(tls_boxes, tls_mode, plain, encrypted, with_certificate):
    box = tls_boxes(tls_mode)
    assert attempt(box, None) == plain
    found = attempt(box, client_context())
    assert found in ({"28000", "tls"} if encrypted == "no" else {encrypted}), found
    assert attempt(box, client_context("app")) == with_certificate


def test_verify_full_minds_the_name(tls_boxes):
    assert attempt(tls_boxes("verify-ca"), client_context("somebody")) == "ok"
    assert attempt(tls_boxes("verify-full"), client_context("somebody")) in {"28000", "tls"}


@pytest.mark.parametrize("tls_mode", ["verify-ca", "verify-full"])
def test_certificates_of_another_ca_are_refused(pg, tls_boxes, tls_mode):
    foreign = pg.certificates.client("app")
    context = tls_context(client_certificates().ca, client=foreign)
    assert attempt(tls_boxes(tls_mode), context) in {"28000", "tls"}


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_versions(tls_boxes, version):
    context = tls_context(
        client_certificates().ca, minimum=VERSIONS[version], maximum=VERSIONS[version]
    )
    client = tls_boxes("require").raw("transaction", tls=context)
    assert client.socket.version() == "TLSv" + version
    assert client.value("SELECT 1") == "1"
    client.terminate()


def test_min_version(pg, start_box):
    box = start_box(tls_config(pg, "require", min_version="1.3"))
    old = tls_context(maximum=ssl.TLSVersion.TLSv1_2)
    assert attempt(box, old) == "tls"
    assert attempt(box, tls_context(minimum=ssl.TLSVersion.TLSv1_3)) == "ok"


def test_tls_ends_cleanly(tls_boxes):
    """After Terminate comes close_notify, not a reset: libpq and Java report the difference."""
    client = tls_boxes("require").raw("transaction", tls=client_context())
    client.send(messages.terminate())
    client.socket.settimeout(5)
    assert client.socket.recv(1) == b""  # an end without close_notify raises SSLEOFError
    client.close()


# --- SCRAM, the client's messages bent


def scram_login(
    port, first, final=None, mechanism="SCRAM-SHA-256", length=None, user="scram_client"
):
    """Sends the given client-first and client-final; what the server says in the end."""
    client = RawClient("127.0.0.1", port)
    client.send(messages.startup(user, "transaction"))
    assert client.read_message()[0] == b"R"
    size = struct.pack("!i", len(first) if length is None else length)
    client.send(messages.password(messages.cstring(mechanism) + size + first))
    found = []
    try:
        kind, body = client.read_message()
        if kind == b"R" and final is not None:
            client.send(messages.password(final(body[4:])))
            kind, body = client.read_message()
        found = (kind, body)
        if kind == b"E":
            client.expect_closed()
    finally:
        client.close()
    return found


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=",
        b"n,,n=,r=",
        b"n,,r=nonce",
        b"n,,n=",
        b"n,,x=1,n=,r=nonce",
        b"n,,m=ext,n=,r=nonce",
        b"y,,n=,r=non\xffce",
        b"p=tls-unique,,n=,r=nonce",
        b"n,a=other,n=,r=nonce",
        b"z,,n=,r=nonce",
        b"n,,n=,r=non ce\x01",
        b"," * 5000,
    ],
)
def test_bent_first_messages(box, first):
    kind, body = scram_login(box.port, first)
    fields = messages.error_fields(body)
    assert kind == b"E" and fields["V"] == "FATAL", (kind, body)
    assert fields["C"] in {"08P01", "28P01", "28000", "0A000"}, fields


@pytest.mark.parametrize(
    "mechanism", ["", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256"]
)
def test_other_mechanisms(box, mechanism):
    """Over plain TCP there is no -PLUS either."""
    kind, _ = scram_login(box.port, b"n,,n=,r=nonce", mechanism=mechanism)
    assert kind == b"E"


@pytest.mark.parametrize("length", [-2, -1, 0, 5, 1000, 2**31 - 1])
def test_wrong_inner_lengths(box, length):
    """-1 means that no first message is there yet; whatever comes of it, nobody is let in."""
    kind, body = scram_login(box.port, b"n,,n=,r=nonce", length=length)
    assert (kind == b"E") or (length == -1 and struct.unpack_from("!i", body)[0] == 11), (
        kind,
        body,
    )


def bend(edit):
    def final(server_first):
        scram = Scram(ROLES["app"], nonce="nonce")
        return edit(scram.final(server_first).decode()).encode("latin1")

    return final


@pytest.mark.parametrize(
    "edit",
    [
        lambda f: "",
        lambda f: f.replace("c=biws", "c=eSws"),  # another header than the first message's
        lambda f: f.replace("c=biws,", ""),
        lambda f: f.replace("r=nonce", "r=other"),
        lambda f: f.partition(",p=")[0],
        lambda f: f + "=",
        lambda f: f + ",x=1",
        lambda f: f.partition(",p=")[0] + ",p=AAAA",
        lambda f: f.partition(",p=")[0] + ",p=" + "A" * 44,
        lambda f: f.partition(",p=")[0] + ",p=\xff\xff",
        lambda f: f.replace(",r=", ",x=ext,r="),
    ],
)
def test_bent_final_messages(box, edit):
    kind, body = scram_login(box.port, b"n,,n=,r=nonce", bend(edit))
    fields = messages.error_fields(body)
    assert kind == b"E" and fields["V"] == "FATAL", (kind, body)
    assert fields["C"] in {"08P01", "28P01"}, fields


def test_a_straight_final_message_is_right(box):
    """The control of the tests above: unbent, the same code logs in."""
    kind, body = scram_login(box.port, b"n,,n=,r=nonce", bend(lambda f: f))
    assert (kind, struct.unpack_from("!i", body)[0]) == (b"R", 12)


def test_extensions_in_the_final_message(box):
    """Optional attributes behind the nonce are part of what is signed, and ignored."""

    def final(server_first):
        scram = Scram(ROLES["app"], nonce="nonce")
        text = scram.final(server_first).decode()
        without_proof = text.partition(",p=")[0] + ",x=ignored"
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", ROLES["app"].encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        key = hmac.digest(salted, b"Client Key", "sha256")
        signed = f"n=,r=nonce,{server_first.decode()},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        return f"{without_proof},p={proof}".encode()

    kind, body = scram_login(box.port, b"n,,n=,r=nonce", final)
    assert (kind, struct.unpack_from("!i", body)[0]) == (b"R", 12)


@pytest.mark.parametrize("size", [1, 5, 200, 1000])
def test_nonces_of_any_length(box, size):
    scram = Scram(ROLES["app"], nonce="x" * size)
    kind, body = scram_login(box.port, scram.first(), scram.final)
    assert (kind, struct.unpack_from("!i", body)[0]) == (b"R", 12)


@pytest.mark.parametrize(
    "password",
    [b"", b"no terminator", b"two\0strings\0", b"x" * 5000 + b"\0"],
)
def test_odd_password_messages(box, password):
    for user in ("password_client", "md5_client"):
        client = RawClient("127.0.0.1", box.port)
        client.send(messages.startup(user, "transaction"))
        assert client.read_message()[0] == b"R"
        client.send(messages.password(password))
        kind, body = client.read_message()
        assert kind == b"E" and messages.error_fields(body)["V"] == "FATAL"
        client.expect_closed()


@pytest.mark.parametrize("kind", [b"Q", b"X", b"S", b"P", b"\0"])
def test_other_messages_instead_of_a_password(box, kind):
    client = RawClient("127.0.0.1", box.port)
    client.send(messages.startup("scram_client", "transaction"))
    assert client.read_message()[0] == b"R"
    client.send(messages.message(kind, b"SELECT 1\0"))
    found = client.read_to_end(5)
    assert not [m for m in found if m[0] != b"E"], found
    client.close()


def test_sessions_of_many_passwords_and_unicode(pg, start_box):
    """SASLprep: composed and decomposed forms, spaces, and what cannot be prepared."""
    passwords = ["pässwört", "pa\u0308sswo\u0308rt", "\u2168", "a\u00a0b", "tab\tinside", "emoji 🚦"]
    users = [{"name": f"u{i}", "password": f"s{i}"} for i in range(len(passwords))]
    secrets = {f"s{i}": {"value": text} for i, text in enumerate(passwords)}
    box = start_box(standard_config(pg, {"users": users, "secrets": secrets}))
    for i, text in enumerate(passwords):
        with psycopg.connect(
            host="127.0.0.1", port=box.port, user=f"u{i}", password=text, dbname="transaction"
        ) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    # Both spellings are one password for who prepares as RFC 4013 says.
    with psycopg.connect(
        host="127.0.0.1", port=box.port, user="u0", password=passwords[1], dbname="transaction"
    ) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
