"""A statement that needs no decision is carried without a single allocation."""

import itertools
import struct
import subprocess
import time

import pytest

from harness import Signalbox
from harness.messages import bind, describe_portal, execute, parse, query, sync
from harness.signalbox import REPOSITORY, standard_config

# A sanitizer has an allocator of its own.
pytestmark = pytest.mark.slow

COUNT = 1000


@pytest.fixture(scope="module")
def counted(pg, tmp_path_factory):
    """(box, the number of its allocations so far)"""
    folder = tmp_path_factory.mktemp("allocations")
    library, file = folder / "count_allocations.so", folder / "count"
    source = REPOSITORY / "tests/support/count_allocations.c"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", source, "-o", library], check=True)
    environment = {"LD_PRELOAD": str(library), "SIGNALBOX_ALLOCATIONS": str(file)}
    config = standard_config(pg, {"availability": {"interval": "0"}})
    with Signalbox(config, env=environment) as box:
        yield box, lambda: struct.unpack("=q", file.read_bytes())[0]


def unnamed():
    batch = parse("SELECT $1::int") + bind([1]) + describe_portal() + execute() + sync()
    return itertools.repeat(batch)


WORK = {
    "simple": lambda: itertools.repeat(query("SELECT 1")),
    "simple, every text a new one": lambda: (query(f"SELECT {i}") for i in itertools.count()),
    "extended": unnamed,
    "prepared": lambda: itertools.repeat(bind([1], statement="s") + execute() + sync()),
}


@pytest.mark.parametrize("work", WORK)
def test_forwarding_allocates_nothing(counted, mode, work):
    box, allocations = counted
    client = box.raw(mode)
    client.send(parse("SELECT $1::int", "s") + sync())
    client.read_until()
    requests = WORK[work]()

    def run(count):
        for request in itertools.islice(requests, count):
            client.send(request)
            client.read_until()

    def allocated_by_requests():
        """While COUNT of them ran, over what an idle process allocates in the same time."""
        started, before = time.monotonic(), allocations()
        run(COUNT)
        took, between = time.monotonic() - started, allocations()
        time.sleep(took)
        return (between - before) - (allocations() - between)

    run(200)  # buffers and tables grow to their size
    assert allocations() > 1000  # it does count
    # What remains are looks at the catalogs, a dozen allocations every other second: several, where
    # the machine is so slow that the requests take that long.
    tries = [allocated_by_requests()]
    while tries[-1] > 20 and len(tries) < 5:
        tries.append(allocated_by_requests())
    assert tries[-1] <= 20, tries
    client.terminate()
