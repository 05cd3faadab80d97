"""Clients whose toolchains are too heavy for every run: tokio-postgres and Hibernate.

    scripts/test drivers            # installs what they need, and runs them

pytest does not collect this file unless it is named.
"""

import os
import shutil
import subprocess

import pytest

from harness.signalbox import REPOSITORY

HERE = REPOSITORY / "tests/integration/clients"
BUILD = REPOSITORY / "build/drivers"


def build(*command, folder, **environment):
    """Runs a package manager or a compiler, which may have to fetch something."""
    program = shutil.which(command[0])
    assert program, f"{command[0]} is not installed: scripts/install drivers"
    done = subprocess.run(
        [program, *map(str, command[1:])],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def tokio_postgres():
    # A copy: cargo writes its lock file next to Cargo.toml.
    folder = BUILD / "tokio_postgres"
    shutil.copytree(HERE / "tokio_postgres", folder, dirs_exist_ok=True)
    build("cargo", "build", "--quiet", folder=folder, CARGO_HOME=str(BUILD / "cargo"))
    return folder / "target/debug/signalbox-client"


@pytest.fixture(scope="module")
def hibernate():
    classes, jars = BUILD / "hibernate/classes", BUILD / "hibernate/jars"
    build(
        "mvn",
        "-q",
        "-B",
        f"-Dmaven.repo.local={BUILD / 'maven'}",
        f"-DoutputDirectory={jars}",
        "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
        folder=HERE / "hibernate",
    )
    build("javac", "-d", classes, "-cp", f"{jars}/*", "Hibernate.java", folder=HERE / "hibernate")
    return f"{classes}:{jars}/*"


def test_tokio_postgres(run_program, schema, tokio_postgres):
    run_program(tokio_postgres, environment={"SCHEMA": schema})


def test_hibernate(run_program, schema, target, hibernate):
    url = (
        f"jdbc:postgresql://localhost:{target.port}/{target.database}"
        f"?sslmode=verify-full&sslrootcert={target.ca}&socketTimeout=60"
    )
    run_program(
        "java",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        hibernate,
        "Hibernate",
        url,
        target.user,
        target.password,
        schema,
        timeout=120,
        environment={"JAVA_TOOL_OPTIONS": ""},
    )
