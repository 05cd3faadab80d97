"""The first examination of a large database: in parts, between which the server rests."""

import datetime
import re

import pytest

from harness import Postgres, eventually
from watching import NOTICES, Told, config

VIEWS = 400
LINE = re.compile(r"^(\S+ \S+) UTC .*duration: ([0-9.]+) ms  statement: (.*)", re.MULTILINE)


@pytest.fixture(scope="module")
def large():
    """Every view has a notice. The log has what is asked, when, and what it cost."""
    settings = {"log_min_duration_statement": "0"}
    with Postgres("large", settings=settings) as made:
        made.admin("CREATE SCHEMA noted AUTHORIZATION app; CREATE TABLE noted.rows (note text)")
        made.admin(
            "DO $$BEGIN FOR i IN 1.." + str(VIEWS) + " LOOP EXECUTE format("
            "'CREATE VIEW noted.v%s AS SELECT note FROM noted.rows WHERE note = NULL', i); "
            "END LOOP; END$$"
        )
        yield made


def test_the_server_rests(large, start_box):
    """Most of the time nothing is asked: traffic does not feel it."""
    since = len(large.log_text())
    told = Told(start_box(config(large)))
    eventually(lambda: told.count() == VIEWS, "all is known", 60)
    found = LINE.findall(large.log_text()[since:])
    asked = [each for each in found if "pg_get_viewdef" in each[2] or "pg_rewrite" in each[2]]
    times = [datetime.datetime.fromisoformat(when) for when, *_ in asked]
    busy = sum(float(cost) for _, cost, _ in asked) / 1000
    assert len(asked) > 8, "a part at a time"
    assert (times[-1] - times[0]).total_seconds() > 5 * busy


def test_what_changes_meanwhile(large, start_box):
    """What is made and dropped while the server rests is known in the end."""
    box = start_box(config(large))
    told = Told(box)
    told.run("CREATE VIEW noted.new AS SELECT note FROM noted.rows WHERE note = NULL")
    told.run("DROP VIEW noted.v7")
    noticed = f"SELECT object_id FROM {NOTICES}"

    def known():
        names = told.run(f"SELECT name FROM mz_catalog.mz_objects WHERE id IN ({noticed})")
        found = {name for (name,) in names}
        return len(found) == VIEWS and "new" in found and "v7" not in found

    eventually(known, "both are known", 60)
    told.run("DROP VIEW noted.new")
    told.run("CREATE VIEW noted.v7 AS SELECT note FROM noted.rows WHERE note = NULL")


def test_an_end_while_the_server_rests(large, start_box):
    """It ends at once, and has nothing to complain about."""
    box = start_box(config(large))
    eventually(lambda: "pg_rewrite" in large.log_text(), "it is under way")
    box.stop()
    assert "examination" not in box.log_text()
