"""A TCP gate that does harm at a chosen place of a PostgreSQL conversation.

    gate = Gate(port)                                # connect to gate.port instead of port
    gate.arm(Fault("to_server", 7, "inside", "close", cut=5))
    ...                                              # the 7th message towards the server is truncated
    gate.arm(None)                                   # passes everything, and counts anew
    gate.seen()                                      # what has passed since: the places for faults

It stands between a client and Signalbox, or between Signalbox and a server, and reads both directions
as messages of protocol version 3 over plain TCP: startup packets and cancel requests (without a
type), the one byte that answers an SSLRequest, and then typed messages. Messages are counted in each
direction, over all connections, from arm() on; a fault happens once. A message is passed on when it
is whole, together with what came with it, so that the only cuts are those that were asked for.

A TCP stream cannot be reordered: its bytes come in order or not at all. What a network can do is to
deliver two connections' bytes in another order than they were sent in. That is the action `reorder`:
what is behind the place waits until another connection has had a message in the same direction.
"""

import asyncio
import dataclasses
import socket
import struct
import threading

TO_SERVER, TO_CLIENT = "to_server", "to_client"
DIRECTIONS = (TO_SERVER, TO_CLIENT)
PLACES = ("before", "inside", "behind")
ACTIONS = ("reset", "close", "half_close", "delay", "limit", "stall", "reorder")

SSL_REQUEST, GSSENC_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102


@dataclasses.dataclass(frozen=True)
class Seen:
    """A message that has passed: its type (empty for a startup packet), its size with the header."""

    direction: str
    number: int
    kind: str
    size: int


@dataclasses.dataclass(eq=False)
class Fault:
    """`action` at `place` of message `number` (from 0) in `direction`.

    cut       bytes of the message that still pass, where the place is inside
    seconds   how long to delay; how long to stall before the reset; the longest wait of reorder
    size      bytes that pass at a time, of limit

    reset       both ends get RST           delay    this direction waits, and goes on
    close       both ends get FIN           limit    from here on, a few bytes at a time
    half_close  the receiver gets FIN, and  stall    neither direction passes anything, and nobody is
                the rest of this direction           told; then reset
                goes nowhere                reorder  see above
    """

    direction: str
    number: int
    place: str
    action: str
    cut: int = 1
    seconds: float = 0.03
    size: int = 1
    fired: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __post_init__(self):
        assert self.direction in DIRECTIONS and self.place in PLACES and self.action in ACTIONS

    def __str__(self):
        inside = f" {self.cut}" if self.place == "inside" else ""
        return f"{self.direction} {self.number} {self.place}{inside} {self.action}"


class _Ended(Exception):
    """The link has been cut."""


class _Framer:
    """Finds the end of the first message in a buffer."""

    def __init__(self, direction):
        self.is_typed = direction == TO_CLIENT
        self.bare = 0  # answers of one byte that are due

    def size(self, buffer):
        """Of the first message if it is whole, else 0."""
        if self.bare and buffer:
            return 1
        header = 1 if self.is_typed else 0
        if len(buffer) < header + 4:
            return 0
        size = header + struct.unpack_from("!i", buffer, header)[0]
        return size if size <= len(buffer) else 0


class _Link:
    """One connection through the gate: two streams."""

    def __init__(self, gate, client, server):
        self._gate = gate
        self._writers = {TO_SERVER: server[1], TO_CLIENT: client[1]}
        self._readers = {TO_SERVER: client[0], TO_CLIENT: server[0]}
        self._framers = {direction: _Framer(direction) for direction in DIRECTIONS}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._limits = {}
        self._half_closed = set()
        self._is_cut = False
        for writer in self._writers.values():
            writer.transport.set_write_buffer_limits(high=0)  # drain() waits for the last byte

    async def run(self):
        passing = [asyncio.ensure_future(self._pass(direction)) for direction in DIRECTIONS]
        try:
            await asyncio.gather(*passing)
            self.cut("close")
        except (_Ended, ConnectionError, OSError):
            self.cut("reset")  # an end that was reset is one for the other, too
        finally:
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)

    def cut(self, how):
        if self._is_cut:
            return
        self._is_cut = True
        self._flowing.set()
        for writer in self._writers.values():
            if how == "reset":
                sock = writer.get_extra_info("socket")
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass  # it has ended by itself
                writer.transport.abort()
            else:
                writer.close()

    async def _pass(self, direction):
        reader, framer, buffer = self._readers[direction], self._framers[direction], bytearray()
        while data := await reader.read(65536):
            buffer += data
            out = bytearray()
            while size := framer.size(buffer):
                whole = bytes(buffer[:size])
                del buffer[:size]
                fault = self._count(direction, framer, whole)
                if fault is None:
                    out += whole
                    continue
                passed = {"before": 0, "inside": fault.cut, "behind": size}[fault.place]
                await self._write(direction, bytes(out) + whole[:passed])
                out = bytearray(whole[passed:])
                await self._harm(direction, fault)
            await self._write(direction, bytes(out))
        await self._write(direction, bytes(buffer))
        self._half_close(direction)

    def _count(self, direction, framer, whole):
        kind = whole[:1].decode("latin-1") if framer.is_typed and not framer.bare else ""
        if framer.bare:
            framer.bare -= 1
        elif not framer.is_typed:
            (code,) = struct.unpack_from("!i", whole, 4)
            if code in (SSL_REQUEST, GSSENC_REQUEST):
                self._framers[TO_CLIENT].bare += 1
            elif code != CANCEL_REQUEST:
                framer.is_typed = True
        return self._gate.count(self, direction, kind, len(whole))

    async def _write(self, direction, data):
        await self._flowing.wait()
        if self._is_cut:
            raise _Ended
        if direction in self._half_closed or not data:
            return
        writer, limit = self._writers[direction], self._limits.get(direction, 0) or len(data)
        for at in range(0, len(data), limit):
            writer.write(data[at : at + limit])
            await writer.drain()
            await asyncio.sleep(0)
            if self._is_cut:
                raise _Ended

    def _half_close(self, direction):
        if direction not in self._half_closed and not self._is_cut:
            self._half_closed.add(direction)
            self._writers[direction].write_eof()

    async def _harm(self, direction, fault):
        fault.fired.set()
        if fault.action in ("reset", "close"):
            self.cut(fault.action)
            raise _Ended
        if fault.action == "half_close":
            self._half_close(direction)
        elif fault.action == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault.action == "limit":
            self._limits[direction] = fault.size
        elif fault.action == "stall":
            self._flowing.clear()
            await asyncio.sleep(fault.seconds)
            self.cut("reset")
            raise _Ended
        elif fault.action == "reorder":
            await self._gate.wait_for_another(self, direction, fault.seconds)


class Gate:
    """Listens on loopback, and passes on to `port` there."""

    _loop = None

    def __init__(self, port):
        self._target = port
        self._lock = threading.Lock()
        self._links = set()
        self._tasks = set()
        self._others = []  # (link, direction, future) of those who wait for another connection
        self._fault = None
        self._counts = dict.fromkeys(DIRECTIONS, 0)
        self._seen = []
        self.errors = []
        if Gate._loop is None:
            Gate._loop = asyncio.new_event_loop()
            threading.Thread(target=Gate._loop.run_forever, daemon=True).start()
        self._server = self._call(asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512))
        self.port = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, Gate._loop).result(10)

    def arm(self, fault):
        """Counts anew; `fault` may be None."""
        with self._lock:
            self._fault = fault
            self._counts = dict.fromkeys(DIRECTIONS, 0)
            self._seen = []
        return fault

    def seen(self):
        """The messages since arm(), in the order in which they came."""
        with self._lock:
            return list(self._seen)

    def drop(self, how="reset"):
        """Cuts all connections; returns when they are gone."""

        async def cut():
            for link in list(self._links):
                link.cut(how)
            if self._tasks:
                await asyncio.wait(list(self._tasks), timeout=5)

        self._call(cut())

    def close(self):
        """Fails if anything unforeseen has happened in the gate itself."""

        async def shut():
            self._server.close()

        self._call(shut())
        self.drop()
        assert not self.errors, self.errors[:3]

    def count(self, link, direction, kind, size):
        """A message is about to pass: the fault that is due, or None."""
        for other in [w for w in self._others if w[0] is not link and w[1] == direction]:
            self._others.remove(other)
            # It goes on when this message has been written.
            Gate._loop.call_later(0.002, lambda f=other[2]: f.done() or f.set_result(None))
        with self._lock:
            number = self._counts[direction]
            self._counts[direction] += 1
            self._seen.append(Seen(direction, number, kind, size))
            fault = self._fault
            if fault is None or (fault.direction, fault.number) != (direction, number):
                return None
            self._fault = None
            return fault

    async def wait_for_another(self, link, direction, seconds):
        entry = (link, direction, Gate._loop.create_future())
        self._others.append(entry)
        try:
            await asyncio.wait_for(entry[2], seconds)
        except asyncio.TimeoutError:
            if entry in self._others:
                self._others.remove(entry)

    async def _accept(self, *client):
        task = asyncio.current_task()
        self._tasks.add(task)
        link = None
        try:
            try:
                server = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                client[1].transport.abort()
                return
            for _, writer in (client, server):
                writer.get_extra_info("socket").setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )
            link = _Link(self, client, server)
            self._links.add(link)
            await link.run()
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(repr(error))
        finally:
            self._links.discard(link)
            self._tasks.discard(task)
