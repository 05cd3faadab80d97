"""A host that is there and does not answer."""

import select
import socket
import threading


class SilentHost:
    """Accepts connections and says nothing; `most` were open at once."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.accepted = 0
        self.most = 0
        self._open = []
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()

    def _serve(self):
        while True:
            ready, _, _ = select.select([self.listener, *self._open], [], [])
            # Whoever made room has closed before the next one came: ends are counted first.
            for sock in [each for each in self._open if each in ready]:
                try:
                    is_open = sock.recv(4096)
                except OSError:
                    is_open = False
                if not is_open:
                    self._open.remove(sock)
                    sock.close()
            if self.listener in ready:
                try:
                    sock, _ = self.listener.accept()
                except OSError:
                    return
                self.accepted += 1
                self._open.append(sock)
                self.most = max(self.most, len(self._open))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self._server.join()
        for each in [self.listener, *self._open]:
            each.close()
