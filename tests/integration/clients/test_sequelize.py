"""Sequelize: runs sequelize.js.

It looks for its foreign keys in the catalog (table_catalog) that it has connected to: so here a
route and the database behind it have one name.
"""

import pytest

from harness import Signalbox
from harness.signalbox import merge, standard_config


@pytest.fixture(scope="module")
def box(pg):
    names = ("session", "transaction")
    for name in names:
        pg.admin(f"CREATE DATABASE {name} OWNER app", database="postgres")
    routes = {name: {"pool_mode": name, "backend_database": name} for name in names}
    config = merge(standard_config(pg, routes=routes), {"tls": {"mode": "require"}})
    with Signalbox(config) as process:
        yield process
    for name in names:
        pg.admin(f"DROP DATABASE {name} WITH (FORCE)", database="postgres")


def test_sequelize(run_node):
    run_node("sequelize.js", SCHEMA="public")
