"""Lanes: each a way through one Signalbox of its own, with a gate before it and one behind it."""

import itertools
import os
import random

import pytest

from gate import Gate
from harness import Postgres, Signalbox
from harness.signalbox import connection_to, standard_config
from workload import QUIET, ROUTE, TABLE

LANES = 4


class Lane:
    """`client_gate` leads to Signalbox, `server_gate` from its routes `<mode>_<lane>` to PostgreSQL."""

    numbers = itertools.count(1)

    def __init__(self, pg, number):
        self.number = number
        self.server_gate = Gate(pg.port)
        self.client_gate = None
        self.admin = pg.admin_connection()

    @property
    def connection(self):
        return f"lane{self.number}"

    def route(self, mode):
        return f"{mode}_{self.number}"

    def rows(self, session):
        """The session's keys, as PostgreSQL itself has them."""
        found = self.admin.execute("SELECT key FROM chaos WHERE run = %s", [session.number])
        return [key for (key,) in found.fetchall()]

    def close(self):
        self.admin.close()
        for gate in (self.client_gate, self.server_gate):
            gate.close()


@pytest.fixture(scope="session")
def seed():
    """SIGNALBOX_CHAOS_SEED: a number, or `random`; failures name it."""
    wanted = os.environ.get("SIGNALBOX_CHAOS_SEED", "1")
    return random.randrange(10**6) if wanted == "random" else int(wanted)


@pytest.fixture(scope="session")
def chaos_pg():
    server = Postgres("chaos", settings={"synchronous_commit": "on"})
    server.admin(TABLE)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def lanes(chaos_pg):
    made = [Lane(chaos_pg, number) for number in range(LANES)]
    changes = {"connections": {}, **QUIET}
    routes = {}
    for lane in made:
        changes["connections"][lane.connection] = connection_to(lane.server_gate)
        for mode in ("session", "transaction"):
            own = {"pool_mode": mode, "connection": lane.connection, **ROUTE}
            routes[lane.route(mode)] = {**own, "pool_size": 1}
            routes[f"shared_{lane.route(mode)}"] = {**own, "pool_size": 4}
            routes[f"impatient_{lane.route(mode)}"] = {
                **own,
                "pool_size": 1,
                "query_timeout": "1s",
                "connect_timeout": "1s",
            }
    with Signalbox(standard_config(chaos_pg, changes, routes=routes)) as box:
        for lane in made:
            lane.box = box
            lane.client_gate = Gate(box.port)
        yield made
        for lane in made:
            lane.close()
