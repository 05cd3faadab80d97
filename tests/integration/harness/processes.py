"""What /proc says about a process. Linux only, as the product is."""

import ctypes
import os
import pathlib
import signal

_libc = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(number=signal.SIGKILL):
    """For preexec_fn: an interrupted test run leaves nothing running behind."""
    _libc.prctl(PR_SET_PDEATHSIG, int(number))


def _stat(pid):
    """The fields of /proc/PID/stat behind the name, or None when the process is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def is_alive(pid):
    """Zombies count as dead: in a container nobody may be there to collect them."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX"


def children(pid):
    """Living direct children."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(entry)
            if fields and fields[1] == str(pid) and fields[0] not in "ZX":
                found.append(int(entry))
    return found


def resident_bytes(pid):
    """Resident set, without the pages of files (the program text varies with the build)."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no RssAnon for {pid}")


def cpu_seconds(pid):
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
