"""What the integration tests stand on: a private PostgreSQL, Signalbox, certificates, raw peers.

Everything listens on loopback, lives in one temporary folder (`scratch()`), and is stopped by pid.
The binary under test is named by SIGNALBOX_BINARY (default: build/release/signalbox).
"""

from .certs import Certificates
from .fake_server import FakeServer, FakeSession, ScramServer
from .messages import error_fields
from .postgres import Postgres
from .raw_client import ConnectionClosed, RawClient
from .signalbox import Signalbox
from .toml_writer import to_toml
from .waiting import eventually, free_port, scratch

__all__ = [
    "Certificates",
    "ConnectionClosed",
    "FakeServer",
    "FakeSession",
    "Postgres",
    "RawClient",
    "ScramServer",
    "Signalbox",
    "error_fields",
    "eventually",
    "free_port",
    "scratch",
    "to_toml",
]
