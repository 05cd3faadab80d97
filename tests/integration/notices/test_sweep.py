"""The first examination of a large database: in parts, between which the server rests."""

import datetime
import itertools
import re

import pytest

from harness import Postgres, eventually
from watching import NOTICES, Told, config

VIEWS = 400
LINE = re.compile(
    r"^(\S+ \S+) UTC \[(\d+)\] .*duration: ([0-9.]+) ms  statement: (.*)", re.MULTILINE
)


def asked(server, since):
    """What it was asked of views: when, by which server process, for how many ms, the text."""
    text = server.log_text()[since:].replace("\n\t", " ")
    return [each for each in LINE.findall(text) if "pg_get_viewdef" in each[3]]


@pytest.fixture(scope="module")
def large():
    """Every view has a notice. The log has what is asked, when, and what it cost."""
    settings = {"log_min_duration_statement": "0"}
    with Postgres("large", settings=settings) as made:
        for database, prefix in {"app": "v", "other": "w"}.items():
            made.admin(
                "CREATE SCHEMA noted AUTHORIZATION app; CREATE TABLE noted.rows (note text);"
                "DO $$BEGIN FOR i IN 1.." + str(VIEWS) + " LOOP EXECUTE format('CREATE VIEW "
                f"noted.{prefix}%s AS SELECT note FROM noted.rows WHERE note = NULL', i); "
                "END LOOP; END$$",
                database=database,
            )
        yield made


def noticed(told):
    """The names of what notices are about."""
    found = told.run(
        f"SELECT name FROM mz_catalog.mz_objects WHERE id IN (SELECT object_id FROM {NOTICES})"
    )
    return {name for (name,) in found}


def test_the_server_rests(large, start_box):
    """Most of the time nothing is asked: traffic does not feel it."""
    since = len(large.log_text())
    told = Told(start_box(config(large)))
    eventually(lambda: told.count() == VIEWS, "all is known", 60)
    found = asked(large, since)
    times = [datetime.datetime.fromisoformat(when) for when, *_ in found]
    busy = sum(float(cost) for _, _, cost, _ in found) / 1000
    assert len(found) >= VIEWS / 50, "a part at a time"
    assert (times[-1] - times[0]).total_seconds() > 5 * busy


@pytest.fixture
def swept(large, start_box):
    """A client while the sweep is under way."""
    yield Told(start_box(config(large)))
    large.admin("DROP VIEW IF EXISTS noted.new")
    large.admin("CREATE OR REPLACE VIEW noted.v7 AS SELECT note FROM noted.rows WHERE note = NULL")


def test_what_is_made_meanwhile(swept):
    swept.run("CREATE VIEW noted.new AS SELECT note FROM noted.rows WHERE note = NULL")
    assert not noticed(swept), "the sweep is not over"
    eventually(lambda: len(noticed(swept)) == VIEWS + 1, "all are known", 60)
    assert "new" in noticed(swept)


def test_what_is_dropped_meanwhile(swept):
    swept.run("DROP VIEW noted.v7")
    assert not noticed(swept), "the sweep is not over"
    eventually(lambda: len(noticed(swept)) == VIEWS - 1, "the others are known", 60)
    assert "v7" not in noticed(swept)


def test_one_database_after_the_other(large, start_box):
    """A maker in the second one begins no sweep within that of the first."""
    since = len(large.log_text())
    several = config(large)
    several["routes"].append(
        {"database": "second", "connection": "main", "backend_database": "other"}
    )
    box = start_box(several)
    both = [Told(box), Told(box, "second")]
    try:
        for told in both:
            told.run("CREATE VIEW noted.new AS SELECT note FROM noted.rows WHERE note = NULL")
        assert not noticed(both[0]), "neither sweep is over"
        eventually(lambda: both[0].count() == 2 * (VIEWS + 1), "both are known", 60)
    finally:
        for told in both:
            told.run("DROP VIEW IF EXISTS noted.new")
    # A part of a sweep asks for many, who answers a maker asks for one.
    parts = [
        process
        for _, process, _, sql in asked(large, since)
        if len(re.findall(r"\b\d{5}\b", sql)) > 10
    ]
    assert len(parts) >= 2 * VIEWS / 50, "both were swept"
    assert len(list(itertools.groupby(parts))) == 2


def test_an_end_while_the_server_rests(large, start_box):
    """It ends at once, and has nothing to complain about."""
    since = len(large.log_text())
    box = start_box(config(large))
    eventually(lambda: asked(large, since), "it is under way")
    box.stop()
    assert len(asked(large, since)) < VIEWS / 50, "it is not over"
    assert "examination" not in box.log_text()
