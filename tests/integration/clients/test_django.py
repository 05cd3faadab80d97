"""Django: runs django_site/check.py, a process of its own as its settings are a process's."""

import sys


def test_django(run_program, schema):
    environment = {"DJANGO_SCHEMA": schema, "PYTHONDONTWRITEBYTECODE": "1"}
    run_program(sys.executable, "-W", "ignore", "django_site/check.py", environment=environment)
