"""Client programs of others: where they are, and how those that need a driver find it."""

import pathlib
import shutil
import subprocess

from .signalbox import REPOSITORY
from .waiting import scratch

# Debian's node-pg, or what scripts/install has put under build/.
NODE_PATH = f"{REPOSITORY / 'build/node/node_modules'}:/usr/share/nodejs"
JDBC = pathlib.Path("/usr/share/java/postgresql.jar")
SHARED_JAVA = pathlib.Path(__file__).with_name("JdbcChecks.java")


def tool(name):
    path = shutil.which(name)
    assert path, f"{name} is not installed: see the list of packages in scripts/install"
    return path


def compiled_java(source):
    """The arguments of java that run the program in `source`, which may use JdbcChecks."""
    assert JDBC.exists(), "pgjdbc is not installed (libpostgresql-jdbc-java)"
    folder = scratch() / "java" / source.stem
    if not (folder / f"{source.stem}.class").exists():
        done = subprocess.run(
            [tool("javac"), "-cp", JDBC, "-d", folder, SHARED_JAVA, source],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{JDBC}:{folder}", source.stem]
