"""A way to a server that can be cut without anybody being told, and that knows what was said."""

import socket
import threading


class Gate:
    """Passes connections on to `port`; while shut, bytes go nowhere and nobody is told.

    `passed` has of each connection a pair: what its client has sent, and what the server has.
    """

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._is_open = threading.Event()
        self._is_open.set()
        self._ends = False
        self._sockets = []
        self.passed = []
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self):
        self._is_open.clear()

    def open(self):
        self._is_open.set()

    def close(self):
        self._ends = True
        self.open()
        for sock in [self._listener, *self._sockets]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self):
        while not self._ends:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [client, server]
            sent, answered = bytearray(), bytearray()
            self.passed.append((sent, answered))
            for way in ((client, server, sent), (server, client, answered)):
                threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source, target, passed):
        try:
            while data := source.recv(65536):
                self._is_open.wait()
                passed += data
                target.sendall(data)
            self._is_open.wait()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
