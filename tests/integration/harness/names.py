"""Host names of a test's own, for one process: files bound over /etc in a mount namespace.

    names = Names(tmp_path)
    names.hosts({"db.test": ["127.0.0.1"]})           # may be changed while the process runs
    start_box(config, wrapper=names.wrapper())

    with DnsServer() as dns:                          # port 53 of an address of loopback
        dns.answers["db.test"] = ["127.0.0.1"]; dns.silent.add("slow.test")
        start_box(config, wrapper=Names(tmp_path, dns).wrapper())

Root, or whoever may make user namespaces, can do that; else the test is skipped.
"""

import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import threading

import pytest

FILES = ("hosts", "resolv.conf", "nsswitch.conf")
SCRIPT = 'for file in {}; do mount --bind "$0/$file" "/etc/$file" || exit 70; done; exec "$@"'


class Names:
    """`dns`: who is asked for what is not among the hosts; None: nobody."""

    def __init__(self, folder, dns=None):
        self.folder = pathlib.Path(folder) / "etc"
        self.folder.mkdir()
        self.hosts({})
        server = f"nameserver {dns.address}\noptions timeout:10 attempts:2\n" if dns else ""
        (self.folder / "resolv.conf").write_text(server)
        (self.folder / "nsswitch.conf").write_text(f"hosts: files {'dns' if dns else ''}\n")

    def hosts(self, names):
        """Replaces them all, in one write: whoever reads sees the old or the new ones."""
        text = "".join(f"{address} {name}\n" for name, all_ in names.items() for address in all_)
        file = os.open(self.folder / "hosts", os.O_WRONLY | os.O_CREAT)
        os.write(file, text.ljust(4000).encode()[:4000])
        os.close(file)

    def wrapper(self):
        unshare = shutil.which("unshare")
        assert unshare, "unshare is not installed (util-linux)"
        command = [unshare, "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
        command += ["/bin/sh", "-c", SCRIPT.format(" ".join(FILES)), str(self.folder)]
        tried = subprocess.run([*command, "true"], capture_output=True, text=True)
        if tried.returncode != 0:
            pytest.skip(f"no mount namespace to be had: {tried.stderr.strip()}")
        return command


class DnsServer:
    """A and AAAA records of `answers`; names in `silent` get no answer at all."""

    def __init__(self):
        self.answers = {}
        self.silent = set()
        self.asked = []  # (name, type)
        self.address = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.53"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((self.address, 53))
        except PermissionError:
            self._socket.close()
            pytest.skip("port 53 is for root")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                question, client = self._socket.recvfrom(4096)
            except OSError:
                return
            answer = self._answer(question)
            if answer:
                self._socket.sendto(answer, client)

    def _answer(self, packet):
        """RFC 1035, section 4.1. A time to live of an hour, which nobody should heed."""
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        (kind,) = struct.unpack_from("!H", packet, at + 1)
        name, question = ".".join(labels), packet[12 : at + 5]
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        records = b""
        count = 0
        for address in self.answers.get(name, ()):
            if family == (socket.AF_INET6 if ":" in address else socket.AF_INET):
                data = socket.inet_pton(family, address)
                records += struct.pack("!HHHIH", 0xC00C, kind, 1, 3600, len(data)) + data
                count += 1
        code = 0 if name in self.answers else 3  # NXDOMAIN
        head = packet[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, count, 0, 0)
        return head + question + records

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
