"""The few functions of libpq that the harness needs, through ctypes: connecting is what is measured, so no driver."""

import ctypes
import ctypes.util

_pq = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
_pq.PQconnectdb.restype = ctypes.c_void_p
_pq.PQconnectdb.argtypes = [ctypes.c_char_p]
_pq.PQstatus.argtypes = [ctypes.c_void_p]
_pq.PQerrorMessage.restype = ctypes.c_char_p
_pq.PQerrorMessage.argtypes = [ctypes.c_void_p]
_pq.PQfinish.argtypes = [ctypes.c_void_p]
_pq.PQexec.restype = ctypes.c_void_p
_pq.PQexec.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_pq.PQresultStatus.argtypes = [ctypes.c_void_p]
_pq.PQgetvalue.restype = ctypes.c_char_p
_pq.PQgetvalue.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
_pq.PQntuples.argtypes = [ctypes.c_void_p]
_pq.PQclear.argtypes = [ctypes.c_void_p]

_CONNECTION_OK = 0
_COMMAND_OK, _TUPLES_OK = 1, 2


class Error(Exception):
    pass


class Connection:
    """One blocking connection. ctypes releases the interpreter's lock, so threads really run side by side."""

    def __init__(self, **parameters):
        text = " ".join(f"{key}='{value}'" for key, value in parameters.items())
        self._handle = _pq.PQconnectdb(text.encode())
        if _pq.PQstatus(self._handle) != _CONNECTION_OK:
            message = _pq.PQerrorMessage(self._handle).decode(errors="replace").strip()
            self.close()
            raise Error(message)

    def execute(self, sql):
        """Runs the statement and returns the first column of its first row, or None."""
        result = _pq.PQexec(self._handle, sql.encode())
        try:
            if _pq.PQresultStatus(result) not in (_COMMAND_OK, _TUPLES_OK):
                raise Error(_pq.PQerrorMessage(self._handle).decode(errors="replace").strip())
            return _pq.PQgetvalue(result, 0, 0).decode() if _pq.PQntuples(result) else None
        finally:
            _pq.PQclear(result)

    def close(self):
        if self._handle:
            _pq.PQfinish(self._handle)
            self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
