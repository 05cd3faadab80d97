"""Recorded sessions meet every fault at every message boundary, on both sides of Signalbox.

Each session is recorded once without a fault: the messages that pass the gates are the places, its
replies are what every other run is held against. After each run PostgreSQL itself is asked for the
session's keys, and the next client must be served by the same pool of one server connection.

    SIGNALBOX_CHAOS        how many cases of each test (default: a sample), `all`, or words that are
                           all in a case's name, as a failure prints it
    SIGNALBOX_CHAOS_SEED   the seed of the sample, 1 by default, or `random`
"""

import collections
import dataclasses
import os
import random
import threading
import time
import traceback

import pytest

import workload
from gate import TO_CLIENT, TO_SERVER, Fault
from harness import eventually
from harness.messages import error_fields
from harness.signalbox import is_instrumented
from workload import LOST, SCRIPTS, GivenUp, Session

SAMPLE = 30 if is_instrumented() else 160
MOST_FAILURES = 8  # of one lane; then it stops, since each may have waited long
MOST_MESSAGES = 200  # of a recording; more is the catalogs that Signalbox reads at first
SIDES = ("client", "server")
HARMLESS = ("delay", "limit", "reorder")


@dataclasses.dataclass(frozen=True)
class Case:
    mode: str
    script: object
    side: str
    fault: Fault

    def __str__(self):
        return f"{self.mode} {self.script.__name__} {self.side} {self.fault}"


@dataclasses.dataclass
class Recording:
    replies: list
    seen: dict  # side -> the messages


def faults_at(message):
    """Every fault before, inside and behind one message."""
    place = (message.direction, message.number)
    for action in ("reset", "close", "delay", "stall"):
        yield Fault(*place, "before", action, seconds=0.3 if action == "stall" else 0.03)
    size = message.size
    for cut in sorted({1, 4, 5, size // 2, size - 1} & set(range(1, size))):
        for action in ("reset", "close", "half_close"):  # a message that is truncated
            yield Fault(*place, "inside", action, cut=cut)
    if size > 1:
        for action in ("delay", "stall"):
            seconds = 0.3 if action == "stall" else 0.03
            yield Fault(*place, "inside", action, cut=size // 2, seconds=seconds)
    for action in ("reset", "close", "half_close", "stall"):
        yield Fault(*place, "behind", action, seconds=0.3)
    yield Fault(*place, "before", "limit", size=1 + message.number % 3)


def record(lane, mode, script):
    """The shortest of some: now and then Signalbox asks the server something of its own."""
    found = [record_once(lane, mode, script) for _ in range(3)]
    while min(len(each.seen["server"]) for each in found) > MOST_MESSAGES:
        assert len(found) < 20, f"{mode} {script.__name__}: more messages than it can have"
        found.append(record_once(lane, mode, script))
    return min(found, key=lambda each: len(each.seen["server"]))


def record_once(lane, mode, script):
    """Without any fault, on a server connection that is opened for it."""
    lane.server_gate.drop("close")
    lane.server_gate.arm(None)
    lane.client_gate.arm(None)
    session = Session(next(lane.numbers), lane.client_gate.port, lane.route(mode))
    assert session.run(script), (mode, script, session.error)
    session.leave()
    seen = {
        "client": eventually(
            lambda: [m for m in lane.client_gate.seen() if m.kind == "X"] and lane.client_gate.seen(),
            "the Terminate has passed",
        )
    }
    time.sleep(0.05)  # what Signalbox itself asks the server behind the session
    seen["server"] = lane.server_gate.seen()
    rows = lane.rows(session)
    session.check(rows)
    assert session.acknowledged == set(rows) and rows
    return Recording(session.replies(), seen)


@pytest.fixture(scope="module")
def recordings(lanes):
    return {
        (mode, script): record(lanes[0], mode, script)
        for mode in ("session", "transaction")
        for script in SCRIPTS
    }


def chosen(recordings, mode, side, seed):
    """The cases of one test, in random order."""
    everything = [
        Case(mode, script, side, fault)
        for (its_mode, script), recording in recordings.items()
        if its_mode == mode
        for message in recording.seen[side]
        for fault in faults_at(message)
    ]
    random.Random(f"{seed} {mode} {side}").shuffle(everything)
    wanted = os.environ.get("SIGNALBOX_CHAOS") or str(SAMPLE)
    if wanted == "all":
        return everything, len(everything)
    if wanted.isdigit():
        return everything[: int(wanted)], len(everything)
    words = wanted.split()
    return [c for c in everything if set(words) <= set(str(c).split())], len(everything)


class Runner:
    """Runs cases on one lane after the other, and keeps what came of them."""

    def __init__(self, recordings):
        self.recordings = recordings
        self.cases = collections.deque()
        self.failures = []
        self.sessions = []
        self.counts = collections.Counter()

    def work(self, lane):
        failed = 0
        while failed < MOST_FAILURES:
            try:
                case = self.cases.popleft()
            except IndexError:
                return
            try:
                self.run(lane, case)
            except Exception as error:  # pylint: disable=broad-except
                failed += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                self.failures.append(f"{case}: {error!r} ({where.name}:{where.lineno})")
                lane.server_gate.drop()
                lane.client_gate.drop()

    def run(self, lane, case):
        fault = dataclasses.replace(case.fault, fired=threading.Event())
        gate = lane.client_gate if case.side == "client" else lane.server_gate
        if case.side == "server":
            lane.server_gate.drop("close")
        gate.arm(fault)
        session = Session(
            next(lane.numbers), lane.client_gate.port, lane.route(case.mode), fault=fault
        )
        self.sessions.append(session)
        gone, told = False, []
        try:
            finished = session.run(case.script)
            told = session.replies()
            if not finished:
                self.check_end(case, session)
        except GivenUp:
            finished, gone = False, True
            told = session.replies()
        session.leave(gone)
        # It may be meant for the Terminate, or for what Signalbox cleans behind the session.
        fault.fired.wait(0.1)
        gate.arm(None)
        self.serve_newcomer(lane, case)
        self.counts["cases"] += 1
        self.counts["met"] += fault.fired.is_set()
        self.counts["finished"] += finished
        self.check_replies(case, told, finished)
        rows = lane.rows(session)
        session.check(rows)
        if finished:
            assert session.acknowledged == session.sent, "not all is acknowledged"
        if case.script is workload.split and session.messages:
            self.check_warning(session, set(rows))

    def check_end(self, case, session):
        """What a client may be told, and that its session lives where it has not ended."""
        self.counts["errors"] += session.error is not None
        if case.side == "client":
            assert session.error is None, session.error
            return
        cut_short = case.fault.direction == TO_CLIENT and case.fault.place == "inside"
        if session.error is None:
            # A message of which the client has a part cannot be followed by an error.
            assert case.mode == "session" or cut_short, "closed without a word"
            self.counts["closed"] += 1
            return
        # PostgreSQL itself answers a message that ends too early, while it still can.
        half_message = case.fault.action == "half_close" and case.fault.direction == TO_SERVER
        codes = LOST | {"28P01", "08P01"} if half_message else LOST
        assert session.error["C"] in codes, session.error
        if not session.is_alive_after_error():
            self.counts["ended"] += 1
            # A FATAL about the protocol ends the client, too: it is thought to be its fault.
            assert case.mode == "session" or half_message, f"it has ended: {session.messages[-3:]}"

    def check_replies(self, case, told, finished):
        expected = self.recordings[case.mode, case.script].replies
        if case.fault.action in HARMLESS:
            assert finished and told == expected, (len(told), len(expected), told[-3:])
            return
        if case.fault.action == "half_close":
            # How Signalbox finds out whether the client has gone altogether.
            told = [m for m in told if m[0] != b"S" or not m[1].startswith(b"server_version")]
        if case.side == "server":  # a lost listening connection may lose notifications, and says so
            told = [m for m in told if m[0] != b"A" and b"notifications cannot be heard" not in m[1]]
            expected = [m for m in expected if m[0] != b"A"]
        same = 0
        while same < min(len(told), len(expected)) and told[same] == expected[same]:
            same += 1
        other = told[same:]
        if case.side == "server" and other and other[0][0] == b"E":
            return  # which error is check_end()'s
        assert not other, f"told {other[:3]}, expected {expected[same : same + 3]}"

    def check_warning(self, session, rows):
        """Behind an error: the WARNING counts what is committed, and only one unit is in doubt."""
        kinds = [kind for kind, _ in session.messages]
        if b"E" not in kinds or session.is_closed:
            return
        at = kinds.index(b"E")
        units = session.batch
        committed = 0
        if kinds[at + 1] == b"N":
            fields = error_fields(session.messages[at + 1][1])
            assert (fields["V"], fields["C"]) == ("WARNING", "01000"), fields
            committed = int(fields["M"].split()[0])
            self.counts["warnings"] += 1
        done = 0
        while committed > 0:
            committed -= units[done][0]
            done += 1
        assert committed == 0, f"a count within a unit: {session.messages[at:]}"
        for _, indexes in units[:done]:
            assert set(session.keys(indexes)) <= rows, f"counted, and not there: {indexes}"
        for _, indexes in units[done + 1 :]:
            assert not set(session.keys(indexes)) & rows, f"behind the error, and there: {indexes}"

    def serve_newcomer(self, lane, case):
        """The next client of the same pool of one."""
        for attempt in (1, 2):
            newcomer = Session(next(lane.numbers), lane.box.port, lane.route(case.mode))
            self.sessions.append(newcomer)
            finished = newcomer.run(workload.newcomer)
            newcomer.leave()
            newcomer.check(lane.rows(newcomer))
            if finished:
                return
            # A server connection may break just when it is lent: that is one error, not two.
            assert attempt == 1 and case.side == "server", f"the next one: {newcomer.error}"
            assert newcomer.error is None or newcomer.error["C"] in LOST, newcomer.error
            self.counts["newcomers with an error"] += 1

    def check_all(self, lane):
        """Once more at the end: what was late must not have come twice either."""
        rows = collections.defaultdict(list)
        for run, key in lane.admin.execute("SELECT run, key FROM chaos").fetchall():
            rows[run].append(key)
        for session in self.sessions:
            session.check(rows.pop(session.number, []))
        return rows


@pytest.mark.parametrize("side", SIDES)
def test_every_boundary(lanes, recordings, mode, side, seed, capsys):
    runner = Runner(recordings)
    cases, of = chosen(recordings, mode, side, seed)
    runner.cases.extend(cases)
    started = time.monotonic()
    threads = [threading.Thread(target=runner.work, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with capsys.disabled():
        print(
            f"\n{mode}, {side} side: {len(cases)} of {of} cases, seed {seed}, "
            f"{time.monotonic() - started:.0f} s: {dict(runner.counts)}"
        )
    assert not runner.failures, f"seed {seed}, {len(runner.failures)}:\n" + "\n".join(
        runner.failures
    )
    runner.check_all(lanes[0])
    # Nearly every fault must have met its message, or this has tested nothing.
    if len(cases) >= SAMPLE:
        assert runner.counts["met"] > 0.9 * len(cases), runner.counts


@pytest.mark.parametrize("side", SIDES)
def test_reordered_connections(lanes, recordings, mode, side, seed):
    """Two sessions at once; a chunk of one arrives behind a later chunk of the other."""
    lane = lanes[0]
    gate = lane.client_gate if side == "client" else lane.server_gate
    choose = random.Random(f"{seed} {mode} {side}")
    wanted = os.environ.get("SIGNALBOX_CHAOS")
    met = 0
    rounds = 200 if wanted == "all" else 15
    for _ in range(rounds):
        scripts = [choose.choice(SCRIPTS) for _ in range(2)]
        place = choose.choice(recordings[mode, scripts[0]].seen[side])
        fault = Fault(
            place.direction, place.number, "before" if choose.random() < 0.5 else "inside", "reorder",
            cut=choose.randrange(1, max(2, place.size)), seconds=0.1,
        )  # fmt: skip
        if side == "server":
            lane.server_gate.drop("close")
        gate.arm(fault)
        sessions = [
            Session(next(lane.numbers), lane.client_gate.port, f"shared_{lane.route(mode)}")
            for _ in scripts
        ]
        outcomes = {}

        def go(session, script, outcomes=outcomes):
            outcomes[session] = session.run(script)
            session.leave()

        threads = [threading.Thread(target=go, args=pair) for pair in zip(sessions, scripts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gate.arm(None)
        for session, script in zip(sessions, scripts):
            where = f"seed {seed}: {script.__name__}, {fault}"
            assert outcomes.get(session), f"{where}: {session.error}"
            assert session.replies() == recordings[mode, script].replies, where
            session.check(lane.rows(session))
            assert session.acknowledged == session.sent, where
        met += fault.fired.is_set()
    assert met > rounds // 2


@pytest.mark.slow
def test_servers_that_are_silent_for_ever(lanes, recordings, seed, capsys):
    """No RST, no FIN, no answer, in any message: query_timeout and connect_timeout end every wait."""
    cases, _ = chosen(recordings, "transaction", "server", f"{seed} silent")
    cases = [c for c in cases if c.fault.action == "stall"]
    cases = cases[: 60 if os.environ.get("SIGNALBOX_CHAOS") == "all" else len(lanes)]
    outcomes, failures, longest = [], [], [0.0]

    def silence(lane, case):
        fault = dataclasses.replace(case.fault, seconds=1000.0, fired=threading.Event())
        lane.server_gate.drop("close")
        lane.server_gate.arm(fault)
        route = f"impatient_{lane.route('transaction')}"
        for script in (case.script, workload.newcomer, workload.newcomer):
            started = time.monotonic()
            session = Session(next(lane.numbers), lane.client_gate.port, route)
            finished = session.run(script)
            longest[0] = max(longest[0], time.monotonic() - started)
            if not finished:
                assert session.error is None or session.error["C"] in LOST | {"57014"}, session.error
            session.leave()
            session.check(lane.rows(session))
            outcomes.append((str(case), script.__name__, finished))
        assert finished, f"{case}: not even the second newcomer: {session.error}"
        assert fault.fired.is_set(), f"{case}: nothing was stalled"
        lane.server_gate.drop()

    def work(lane):
        while True:
            try:
                case = cases.pop()
            except IndexError:
                return
            try:
                silence(lane, case)
            except Exception as error:  # pylint: disable=broad-except
                failures.append(f"{case}: {error!r}")
                lane.server_gate.drop()

    threads = [threading.Thread(target=work, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with capsys.disabled():
        print(f"\nsilent servers: {len(outcomes)} sessions, the longest {longest[0]:.1f} s")
    assert not failures, f"seed {seed}:\n" + "\n".join(failures)


# The server takes the half of a password message, behind which nothing more comes, for a wrong one.
LOST_OR_REFUSED = LOST | {"28P01"}


def test_a_storm_of_faults(chaos_pg, lanes, mode, seed, capsys):
    """Many clients share a pool, while faults of all kinds come on both sides."""
    lane = lanes[0]
    choose = random.Random(f"{seed} {mode} storm")
    seconds = 60 if os.environ.get("SIGNALBOX_CHAOS") == "all" else 4
    stop, failures, sessions = threading.Event(), [], []
    counts = collections.Counter()

    def work(number):
        own = random.Random(f"{seed} {number}")
        while not stop.is_set() and len(failures) < MOST_FAILURES:
            session = Session(
                next(lane.numbers), lane.client_gate.port, f"shared_{lane.route(mode)}"
            )
            sessions.append(session)
            script = own.choice(SCRIPTS)
            try:
                finished = session.run(script)
                counts["finished" if finished else "broken"] += 1
                if session.error is not None:
                    assert session.error["C"] in LOST_OR_REFUSED, session.error
                session.leave(is_gone=own.random() < 0.3)
            except Exception as error:  # pylint: disable=broad-except
                failures.append(f"{script.__name__}: {error!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        gate = choose.choice((lane.client_gate, lane.server_gate))
        fault = Fault(
            choose.choice((TO_SERVER, TO_CLIENT)),
            choose.randrange(40),
            choose.choice(("before", "behind")),
            choose.choice(("reset", "close", "half_close", "delay", "limit", "stall", "reorder")),
            seconds=choose.choice((0.02, 0.2)),
            size=choose.choice((1, 7)),
        )
        if choose.random() < 0.5:
            fault.place, fault.cut = "inside", choose.randrange(1, 5)
        gate.arm(fault)
        counts["faults"] += fault.fired.wait(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    for gate in (lane.client_gate, lane.server_gate):
        gate.arm(None)
    with capsys.disabled():
        print(f"\n{mode}, storm of {seconds} s, seed {seed}: {dict(counts)}")
    assert not failures, f"seed {seed}:\n" + "\n".join(failures)
    assert counts["faults"] > seconds and counts["finished"] > seconds, counts
    last = Session(next(lane.numbers), lane.box.port, f"shared_{lane.route(mode)}")
    assert last.run(workload.newcomer), last.error
    last.leave()
    # What was under way when its client went must come to an end, and nothing may stay behind.
    eventually(
        lambda: not chaos_pg.backends("state <> 'idle' AND usename = 'app'"), "the server is idle", 20
    )
    eventually(
        lambda: len(chaos_pg.backends("usename = 'app'")) <= len(lanes) * 14, "no connection leaks", 20
    )
    runner = Runner(recordings=None)
    runner.sessions = sessions
    runner.check_all(lane)
