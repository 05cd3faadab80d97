"""A peer that vanishes without a word, as one whose power is cut: nothing that comes is seen.

vanish(sock)    # the kernel drops whatever arrives for it: no acknowledgement, no reset
"""

import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K: of every packet, no byte


def vanish(sock):
    program = ctypes.create_string_buffer(DROP_ALL, len(DROP_ALL))
    wanted = struct.pack("HP", 1, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, wanted)
