"""`serve`, `check`, `--version`: exit statuses, and configuration errors that help."""

import os
import pathlib
import re
import subprocess

import pytest

from harness import to_toml
from harness.postgres import ROLES
from harness.signalbox import REPOSITORY, binary, client_certificates, standard_config

EXAMPLE = REPOSITORY / "signalbox.example.toml"


class NoServer:
    """`check` contacts none."""

    port = 1


def run(*arguments, cwd="/", environment=None):
    return subprocess.run(
        [str(binary()), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )


@pytest.fixture
def check(tmp_path):
    """check(config) gives (status, all output); the file is signalbox.toml in the test's folder."""

    def run_check(config, environment=None):
        file = tmp_path / "signalbox.toml"
        file.write_text(config if isinstance(config, str) else to_toml(config))
        file.chmod(0o600)
        done = run("check", "--config", file, environment=environment)
        return done.returncode, done.stdout + done.stderr

    return run_check


def test_version():
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"signalbox \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [[], ["serve"], ["check"], ["nonsense"], ["serve", "--nonsense"], ["check", "--config"]],
)
def test_usage_errors(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr and not done.stdout


def test_help():
    done = run("--help")
    assert done.returncode == 0
    for word in ("serve", "check", "--version"):
        assert word in done.stdout


@pytest.mark.parametrize("name", ["run", "test", "install"])
def test_help_of_the_scripts(name):
    """The comment that the script begins with, and nothing is done."""
    script = REPOSITORY / "scripts" / name
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and not done.stderr
    header = script.read_text().partition("\nset -")[0].splitlines()[1:]
    assert done.stdout.splitlines() == [line.removeprefix("#").removeprefix(" ") for line in header]
    assert f"scripts/{name}" in done.stdout


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_missing_file(command, tmp_path):
    done = run(command, "--config", tmp_path / "nowhere.toml")
    assert done.returncode == 2
    assert "nowhere.toml" in done.stderr


def test_check_of_a_good_file(check):
    """It reads the file and what it names, opens no store and contacts no server."""
    status, output = check(standard_config(NoServer))
    assert status == 0, output


def test_check_writes_nothing(tmp_path, check):
    assert check(standard_config(NoServer))[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["signalbox.toml"]


def line_of(text, what):
    return next(n for n, line in enumerate(text.splitlines(), 1) if what in line)


GOOD = to_toml(standard_config(NoServer))

# Name: (from, to, the mark of the line to blame, words that the message must have).
BAD = {
    "unknown section": ("[listen]", "[listn]", "[listn]", ["listen"]),
    "unknown key": ("workers = 2", "wrokers = 2", "wrokers", ["workers"]),
    "wrong type": ("workers = 2", 'workers = "two"', "workers", ["workers"]),
    "negative": ("workers = 2", "workers = -1", "workers", ["workers"]),
    "port": ("port = 0", "port = 70000", "port = 70000", ["port"]),
    "syntax": ("[auth]", "[auth", "[auth", []),
    "key twice": ("workers = 2", "workers = 2\nworkers = 3", "workers = 3", ["workers"]),
    "pool mode": ('pool_mode = "session"', 'pool_mode = "sesion"', "sesion", ["session"]),
    "tls mode": ('mode = "prefer"', 'mode = "prefr"', "prefr", ["prefer"]),
    "auth method": ('method = "scram-sha-256"', 'method = "scram"', '"scram"', ["scram-sha-256"]),
    "unknown secret": ('password = "other"', 'password = "othr"', '"othr"', ["other"]),
    "sslmode": ('ssl_mode = "disable"', 'ssl_mode = "disabled"', "disabled", ["disable"]),
    "duration": (
        'pool_mode = "session"',
        'pool_mode = "session"\nhold_timeout = "5 parsecs"',
        "parsecs",
        [],
    ),
    "option of another type": ('ssl_mode = "disable"', 'broker = "x"', "broker", ["broker"]),
    "missing host": ('host = "127.0.0.1"\n', "", "[connections.main]", ["host"]),
    "connection type": ('type = "postgres"', 'type = "postgress"', "postgress", ["postgres"]),
    "pattern": ('database = "session"', 'pattern = "tenant_("', "tenant_(", []),
    "certificate": ('certificate = "/', 'certificate = "/nowhere/', "/nowhere/", ["nowhere"]),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_name_file_line_and_remedy(check, name):
    old, new, mark, words = BAD[name]
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    status, output = check(text)
    assert status == 2, output
    found = re.search(r"signalbox\.toml:(\d+)", output)
    assert found, output
    assert int(found[1]) == line_of(text, mark), output
    for word in words:
        assert word in output, output


def test_duplicates_are_blamed_on_the_second(check):
    second_user = GOOD + '\n[[users]]\nname = "app"\npassword = "app"\n'
    status, output = check(second_user)
    assert status == 2 and re.search(r"signalbox\.toml:\d+", output), output
    line = int(re.search(r"signalbox\.toml:(\d+)", output)[1])
    assert line >= len(GOOD.splitlines()) + 1, output
    route = '\n[[routes]]\ndatabase = "session"\nconnection = "main"\n'
    status, output = check(GOOD + route)
    assert status == 2 and "session" in output, output


def test_a_route_on_nothing_is_a_warning(check):
    status, output = check(GOOD + '\n[[routes]]\ndatabase = "later"\nconnection = "not_yet"\n')
    assert status == 0 and "not_yet" in output, output


def test_secrets(check, tmp_path):
    config = standard_config(NoServer)
    config["secrets"]["by_env"] = {"env": "SIGNALBOX_TEST_SECRET"}
    status, output = check(config)
    assert status == 2 and "SIGNALBOX_TEST_SECRET" in output, output
    assert check(config, {"SIGNALBOX_TEST_SECRET": "env-Pw-123"})[0] == 0
    (tmp_path / "secret").write_text("file-Pw-456\n")
    config["secrets"]["by_env"] = {"file": "secret"}  # relative to the configuration file
    status, output = check(config)
    assert status == 0, output
    config["secrets"]["by_env"] = {"file": "no-secret"}
    status, output = check(config)
    assert status == 2 and "no-secret" in output, output
    for secret in ("env-Pw-123", "file-Pw-456", "app-Pw-91c0ffee"):
        assert secret not in output


def test_readable_secrets_are_warned_about(tmp_path):
    file = tmp_path / "signalbox.toml"
    file.write_text(GOOD)
    file.chmod(0o644)
    done = run("check", "--config", file)
    assert done.returncode == 0
    assert "warn" in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    assert "app-Pw-91c0ffee" not in done.stdout + done.stderr


def test_relative_paths_start_at_the_configuration(check, tmp_path):
    certificate, key = client_certificates().server()
    for source, name in ((certificate, "c.crt"), (key, "c.key")):
        (tmp_path / name).write_bytes(pathlib.Path(source).read_bytes())
    config = standard_config(NoServer, {"tls": {"certificate": "c.crt", "key": "c.key"}})
    status, output = check(config)
    assert status == 0, output


def test_bad_certificates_are_found(check, tmp_path):
    certificate, key = client_certificates().server()
    other_key = client_certificates().client("app")[1]
    (tmp_path / "junk.crt").write_text("junk")
    for cert_file, key_file in (
        (certificate, other_key),
        (tmp_path / "junk.crt", key),
        (certificate, "/gone"),
    ):
        tls = {"tls": {"certificate": str(cert_file), "key": str(key_file)}}
        status, output = check(standard_config(NoServer, tls))
        assert status == 2 and "signalbox.toml:" in output, output


def test_the_example_has_every_setting():
    """Of those that docs/configuration.md lists, but for what is not supported yet."""
    manual = (EXAMPLE.parent / "docs" / "configuration.md").read_text()
    listed = {name.rpartition(".")[2] for name in re.findall(r"^\| `([a-z_.]+)` \|", manual, re.M)}
    shown = set(re.findall(r"\b([a-z_]+) =", EXAMPLE.read_text()))
    assert len(listed) > 60
    assert listed - shown == {"aws_privatelink"}


def toml_of(manual):
    """The first example of the manual's page."""
    return re.search(r"^```toml\n(.*?)^```", (REPOSITORY / manual).read_text(), re.M | re.S)[1]


def test_the_smallest_file_lets_its_user_in(pg, start_box):
    text = toml_of("docs/configuration.md")
    host = 'host = "127.0.0.1"\n'
    assert text.count(host) == 1
    text = text.replace(host, f"{host}port = {pg.port}\n") + "[listen]\nport = 0\n"
    box = start_box(text, env={"APP_PASSWORD": ROLES["app"]})
    assert box.raw("app").value("SELECT current_user") == "app"
    assert "Nobody can log in" not in box.log_text()


def test_a_file_without_users_is_warned_about(check):
    status, output = check(standard_config(NoServer, {"users": None}))
    assert status == 0 and re.search(r"signalbox\.toml:1: Nobody can log in: ", output), output


def test_the_example_of_the_readme(check, tmp_path):
    """With the certificates and the variable that the README tells of, and no warning."""
    subprocess.run([REPOSITORY / "certs/make", tmp_path / "certs"], check=True, timeout=60)
    status, output = check(toml_of("README.md"), {"APP_PASSWORD": "x"})
    assert status == 0 and "warning" not in output, output


def test_the_example_of_the_repository(tmp_path):
    """It is checked as it lies there, with the secrets that it names."""
    text = EXAMPLE.read_text()
    names = re.findall(r'env\s*=\s*"([A-Z0-9_]+)"', text)
    certificate, key = client_certificates().server()
    for pattern, path in (("certificate", certificate), ("key", key)):
        text = re.sub(rf'^{pattern} = "[^"]*"', f'{pattern} = "{path}"', text, flags=re.M)
    for number, path in enumerate(re.findall(r'^\w+ = \{ file = "([^"]+)"', text, flags=re.M)):
        (tmp_path / f"secret{number}").write_text("x\n")
        text = text.replace(f'"{path}"', f'"secret{number}"')
    file = tmp_path / "signalbox.toml"
    file.write_text(text)
    file.chmod(0o600)
    done = run("check", "--config", file, environment={name: "x" for name in names})
    assert done.returncode == 0, done.stdout + done.stderr
