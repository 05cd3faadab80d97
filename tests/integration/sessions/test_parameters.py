"""A session's parameters follow it to any server connection and reach no other session."""

import random

import pytest

from harness import RawClient, eventually
from harness.messages import bind, execute, parse, sync, text_pair
from harness.postgres import ROLES
from harness.replies import kinds
from harness.signalbox import standard_config

DEFAULT_WORK_MEM = "4MB"


def test_startup_parameters_follow_the_session(clients):
    """Four sessions with parameters of their own take turns on one server connection."""
    sessions = []
    for number, zone in enumerate(["Asia/Tokyo", "Europe/Berlin", "America/Lima", "UTC"]):
        client = clients(
            "one",
            application_name=f"app {number}",
            TimeZone=zone,
            options=f"-c work_mem={number + 5}MB --app.number={number} -c DateStyle=SQL,DMY",
        )
        sessions.append((client, number, zone))
    pids = set()
    for _ in range(3):
        for client, number, zone in sessions:
            assert client.value("SHOW application_name") == f"app {number}"
            assert client.value("SHOW TimeZone") == zone
            assert client.value("SHOW work_mem") == f"{number + 5}MB"
            assert client.value("SHOW app.number") == str(number)
            assert client.value("SHOW DateStyle") == "SQL, DMY"
            pids.add(client.value("SELECT pg_backend_pid()"))
    assert len(pids) == 1  # they did share


def test_options_with_escapes_and_equal_signs(clients):
    client = clients(
        "one", options=r"-c application_name=two\ words --app.a=b=c -c app.b=back\\slash"
    )
    plain = clients("one")
    for _ in range(2):
        assert client.value("SHOW application_name") == "two words"
        assert client.value("SHOW app.a") == "b=c"
        assert client.value("SHOW app.b") == "back\\slash"
        assert plain.value("SHOW application_name") == ""


def test_a_plain_session_sees_the_servers_defaults(clients):
    noisy = clients(
        "one", TimeZone="Asia/Tokyo", options="-c work_mem=9MB -c search_path=pg_catalog"
    )
    plain = clients("one")
    for _ in range(2):
        assert noisy.value("SHOW work_mem") == "9MB"
        assert plain.value("SHOW work_mem") == DEFAULT_WORK_MEM
        assert plain.value("SHOW TimeZone") == "UTC"
        assert plain.value("SHOW search_path") == '"$user", public'


def test_set_follows_and_does_not_leak(clients):
    first, second = clients("one"), clients("one")
    first.query("SET work_mem = '11MB'")
    second.query("SET TimeZone = 'Asia/Tokyo'")
    for _ in range(3):
        assert first.value("SHOW work_mem") == "11MB"
        assert first.value("SHOW TimeZone") == "UTC"
        assert second.value("SHOW work_mem") == DEFAULT_WORK_MEM
        assert second.value("SHOW TimeZone") == "Asia/Tokyo"


def test_set_follows_to_another_server_connection(clients, elsewhere):
    client = clients("two", application_name="mover", options="-c work_mem=9MB")
    client.query("SET TimeZone = 'Asia/Tokyo'")
    client.query("SET app.user_id = '42'")
    client.query("SET search_path = pg_catalog, public")
    elsewhere(client)
    assert client.value("SHOW TimeZone") == "Asia/Tokyo"
    assert client.value("SHOW app.user_id") == "42"
    assert client.value("SHOW search_path") == "pg_catalog, public"
    assert client.value("SHOW application_name") == "mover"
    assert client.value("SHOW work_mem") == "9MB"


def test_reset_returns_to_the_startup_value_after_a_move(clients, elsewhere):
    client = clients("two", application_name="startup", options="-c work_mem=9MB")
    client.query("SET application_name = 'changed'")
    client.query("SET work_mem = '10MB'")
    client.query("SET TimeZone = 'Asia/Tokyo'")
    elsewhere(client)
    client.query("RESET application_name")
    assert client.value("SHOW application_name") == "startup"
    client.query("SET work_mem TO DEFAULT")
    assert client.value("SHOW work_mem") == "9MB"
    assert client.value("SHOW TimeZone") == "Asia/Tokyo"


@pytest.mark.parametrize("how", ["RESET ALL", "DISCARD ALL"])
def test_reset_all_and_discard_all(clients, how):
    client, other = clients("one", application_name="startup"), clients("one")
    for sql in ("SET application_name = 'x'", "SET work_mem = '10MB'", "SET app.thing = 'y'"):
        client.query(sql)
    other.query("SET work_mem = '12MB'")
    client.query(how)
    other.value("SELECT 1")
    assert client.value("SHOW application_name") == "startup"
    assert client.value("SHOW work_mem") == DEFAULT_WORK_MEM
    assert client.value("SELECT coalesce(current_setting('app.thing', true), '')") == ""
    assert other.value("SHOW work_mem") == "12MB"


def test_rolled_back_and_local_settings_are_not_carried(clients):
    client, other = clients("one"), clients("one")
    for ending in ("ROLLBACK", "COMMIT"):
        client.query("BEGIN")
        client.query("SET work_mem = '13MB'")
        client.query("SET LOCAL TimeZone = 'Asia/Tokyo'")
        assert client.value("SHOW TimeZone") == "Asia/Tokyo"
        client.query(ending)
        assert other.value("SHOW work_mem") == DEFAULT_WORK_MEM
        expected = "13MB" if ending == "COMMIT" else DEFAULT_WORK_MEM
        assert client.value("SHOW work_mem") == expected
        assert client.value("SHOW TimeZone") == "UTC"


def test_a_failed_block_takes_its_settings_along(clients):
    client, other = clients("one"), clients("one")
    client.query("BEGIN")
    client.query("SET work_mem = '13MB'")
    client.query("SELECT 1/0")
    client.query("COMMIT")
    other.value("SELECT 1")
    assert client.value("SHOW work_mem") == DEFAULT_WORK_MEM


def test_savepoints(clients):
    client, other = clients("one"), clients("one")
    for sql in ("BEGIN", "SET work_mem = '5MB'", "SAVEPOINT s", "SET work_mem = '6MB'"):
        client.query(sql)
    client.query("SET TimeZone = 'Asia/Tokyo'")
    for sql in ("ROLLBACK TO s", "COMMIT"):
        client.query(sql)
    other.value("SELECT 1")
    assert client.value("SHOW work_mem") == "5MB"
    assert client.value("SHOW TimeZone") == "UTC"


def test_set_in_a_multi_statement_query(clients):
    client, other = clients("one"), clients("one")
    client.query("SET work_mem = '5MB'; SELECT 1")
    client.query("SET TimeZone = 'Asia/Tokyo'; SELECT 1/0")
    other.value("SELECT 1")
    assert client.value("SHOW work_mem") == "5MB"
    assert client.value("SHOW TimeZone") == "UTC"
    assert other.value("SHOW work_mem") == DEFAULT_WORK_MEM


def test_set_in_an_extended_pipeline(clients):
    client, other = clients("one"), clients("one")

    def extended(*texts):
        client.send(b"".join(parse(t) + bind() + execute() for t in texts) + sync())
        return client.read_until(b"Z")

    extended("SET work_mem = '5MB'")
    extended("SET TimeZone = 'Asia/Tokyo'", "SELECT 1/0")
    other.value("SELECT 1")
    assert client.value("SHOW work_mem") == "5MB"
    assert client.value("SHOW TimeZone") == "UTC"
    assert other.value("SHOW work_mem") == DEFAULT_WORK_MEM


def test_prepared_set(clients):
    """SET as a named statement takes effect when it is executed, not when it is parsed."""
    client, other = clients("one"), clients("one")
    client.send(parse("SET work_mem = '5MB'", "s") + sync())
    client.read_until(b"Z")
    assert client.value("SHOW work_mem") == DEFAULT_WORK_MEM
    other.value("SELECT 1")
    client.send(bind(statement="s") + execute() + sync())
    client.read_until(b"Z")
    other.value("SELECT 1")
    assert client.value("SHOW work_mem") == "5MB"


def test_custom_parameters_and_set_config(clients, elsewhere):
    client, other = clients("two"), clients("two")
    client.query("SET app.user_id = '7'")
    client.value("SELECT set_config('app.tenant', 'blue; -- ''quoted''', false)")
    client.value("SELECT set_config('work_mem', '14MB', false)")
    client.value("SELECT set_config('TimeZone', 'Asia/Tokyo', true)")
    other.query("SET app.user_id = '8'")
    elsewhere(client)
    assert client.value("SHOW app.user_id") == "7"
    assert client.value("SHOW app.tenant") == "blue; -- 'quoted'"
    assert client.value("SHOW work_mem") == "14MB"
    assert client.value("SHOW TimeZone") == "UTC"
    third = clients("one")
    assert third.value("SELECT coalesce(current_setting('app.tenant', true), '')") == ""


def test_a_custom_parameter_is_unset_for_the_next_session(clients):
    """Row-level security reads such parameters: an old tenant's id must not linger."""
    first = clients("one")
    first.query("SET app.user_id = '7'")
    second = clients("one")
    assert second.value("SELECT coalesce(current_setting('app.user_id', true), '')") == ""
    first.terminate()
    third = clients("one")
    assert third.value("SELECT coalesce(current_setting('app.user_id', true), '')") == ""


def test_client_encoding_follows(clients):
    latin, utf8 = clients("one", client_encoding="latin1"), clients("one")
    for _ in range(2):
        assert latin.query("SELECT chr(252)")[1] == (b"D", b"\0\1\0\0\0\1\xfc")
        assert utf8.query("SELECT chr(252)")[1] == (b"D", b"\0\1\0\0\0\2\xc3\xbc")


def test_session_characteristics_follow(clients):
    reader, writer = clients("one"), clients("one")
    reader.query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    for _ in range(2):
        assert reader.error("INSERT INTO things VALUES (1, 'no')")["C"] == "25006"
        assert kinds(writer.query("INSERT INTO things VALUES (1, 'yes')")) == "CZ"


def test_role_at_startup(clients):
    """`-c role=` in options is a startup value like any other."""
    member, plain = clients("two", options="-c role=other"), clients("two")
    for _ in range(2):
        assert member.value("SELECT current_user") == "other"
        assert plain.value("SELECT current_user") == "app"


def test_moving_is_silent(clients):
    """Bringing a session's parameters to a server connection is not the client's business."""
    first = clients("one", application_name="a", TimeZone="Asia/Tokyo")
    second = clients("one", application_name="b", TimeZone="Europe/Berlin")
    for _ in range(3):
        for client in (first, second):
            assert kinds(client.query("SELECT 1")) == "TDCZ"


def test_a_statements_settings_hold_for_the_whole_statement_of_others(clients):
    """Several sessions at once over two connections, each with a time zone of its own."""
    zones = ["Asia/Tokyo", "Europe/Berlin", "America/Lima", "UTC", "Asia/Kolkata", "Africa/Cairo"]
    sessions = [(clients("two", TimeZone=zone), zone) for zone in zones]
    for _ in range(30):
        for client, _ in sessions:
            client.send(b"Q\0\0\0\x12SHOW TimeZone\0")
        for client, zone in sessions:
            found = client.read_until(b"Z")
            assert zone.encode() in found[1][1], found


@pytest.mark.parametrize("hidden", ["hidden_set", "hidden_custom", "hidden_role"])
def test_settings_made_inside_a_function_reach_nobody_else(clients, hidden):
    clients("one").value(f"SELECT 'done' FROM {hidden}()")
    other = clients("one")
    assert other.value("SHOW work_mem") == DEFAULT_WORK_MEM
    assert other.value("SELECT coalesce(current_setting('app.hidden', true), '')") == ""
    assert other.value("SELECT current_user") == "app"


def test_alter_role_settings_reach_new_sessions_of_the_pool(pg, clients):
    """The role's own defaults come from the server, below what the client asks for."""
    pg.admin("ALTER ROLE app IN DATABASE app SET app.from_role = 'yes'")
    try:

        def seen():
            client = clients("session_one")
            value = client.value("SELECT coalesce(current_setting('app.from_role', true), '')")
            client.terminate()
            return value == "yes"

        # A server connection of before may be handed out once more; its end brings the new default.
        pg.admin(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'"
        )
        eventually(seen, "the role's setting is seen")
    finally:
        pg.admin("ALTER ROLE app IN DATABASE app RESET ALL")


def test_a_reloaded_default_is_told(private_pg, start_box):
    """ParameterStatus comes unasked, with the next statement, as it does without Signalbox."""
    box = start_box(standard_config(private_pg, routes={"one": {"pool_size": 1}}))
    direct = RawClient("127.0.0.1", private_pg.port).login("app", "app", ROLES["app"])
    followers = [direct, box.raw("session"), box.raw("one")]
    own = box.raw("one", TimeZone="Asia/Tokyo")
    for client in followers:
        assert client.value("SHOW TimeZone") == "UTC"
    private_pg.admin("ALTER SYSTEM SET timezone = 'Europe/Berlin'")
    private_pg.admin("SELECT pg_reload_conf()")
    for client in followers:

        def told():
            found = client.query("SELECT 1")  # noqa: B023
            return [text_pair(body) for kind, body in found if kind == b"S"]

        assert eventually(told, "it is told") == [("TimeZone", "Europe/Berlin")]
        assert client.value("SHOW TimeZone") == "Europe/Berlin"
    assert own.value("SHOW TimeZone") == "Asia/Tokyo"
    assert kinds(own.query("SELECT 1")) == "TDCZ"
    direct.terminate()


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_random_sessions_match_a_model(clients, seed):
    """Six sessions over two connections do random things; a dict knows what each must see."""
    choose = random.Random(seed)
    names = ["work_mem", "app.x", "TimeZone", "application_name"]
    values = {
        "work_mem": ["5MB", "6MB", "7MB"],
        "app.x": ["a", "ä;--", ""],
        "TimeZone": ["Asia/Tokyo", "Europe/Berlin"],
        "application_name": ["one", "two words", "three"],
    }
    sessions = []
    for number in range(6):
        base = {
            "work_mem": "4MB",
            "app.x": "start",
            "TimeZone": "UTC",
            "application_name": f"s{number}",
        }
        client = clients("two", application_name=f"s{number}", options="-c app.x=start")
        sessions.append((client, base, dict(base)))

    def check(client, model):
        shown = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        assert client.rows(shown) == [tuple(model[name] for name in names)]

    def change(client, base, model):
        name = choose.choice(names)
        if choose.random() < 0.3:
            client.query(f"RESET {name}")
            model[name] = base[name]
        else:
            value = choose.choice(values[name])
            client.query(f"SET {name} = '{value}'")
            model[name] = value

    for _ in range(150):
        client, base, model = choose.choice(sessions)
        action = choose.random()
        if action < 0.4:
            change(client, base, model)
        elif action < 0.6:
            before = dict(model)
            client.query("BEGIN")
            for _ in range(2):
                change(client, base, model)
            check(client, model)
            ending = choose.choice(["COMMIT", "ROLLBACK", "fail"])
            if ending == "fail":
                assert client.error("SELECT 1/0")["C"] == "22012"
            client.query("COMMIT" if ending == "COMMIT" else "ROLLBACK")
            if ending != "COMMIT":
                model.update(before)
        elif action < 0.65:
            client.query("RESET ALL")
            model.update(base)
        check(client, model)
    for client, _, model in sessions:
        check(client, model)
