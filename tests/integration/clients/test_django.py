"""Django: runs django_site/check.py, an own process because its settings are a process's own."""

import sys

from conftest import HERE


def test_django(run_program, schema):
    environment = {"DJANGO_SCHEMA": schema, "PYTHONDONTWRITEBYTECODE": "1"}
    run_program(sys.executable, "-W", "ignore", HERE / "django_site/check.py", environment=environment)
