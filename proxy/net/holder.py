"""Which process listens on an address, as /proc tells: for the message that an address is in use, and for ``check``.

What other users run is seen by root alone; then nothing is known of it but the user.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from proxy.config.endpoints import ListenAddress
from proxy.values import frozen

_PROC = Path("/proc")
_LISTENS = "0A"  # TCP_LISTEN of the kernel, as /proc/net/tcp has it


@frozen
class Holder:
    """A process that listens. ``command``: the words that it was started with, cut; () where it cannot be seen. ``uid``
    is its user's number.
    """

    pid: int | None
    command: tuple[str, ...] = ()
    uid: int | None = None

    @property
    def is_hookward(self) -> bool:
        """Whether it is one of ours, of any installation."""
        started = list(zip(self.command, self.command[1:], strict=False))
        named = {os.path.basename(word) for word in self.command[:3]}  # noqa: PTH119  # text in
        return ("-m", "proxy") in started or any(name.startswith("hookward") for name in named)

    def __str__(self) -> str:
        if self.pid is None:
            return "a process of another user"
        name = os.path.basename(self.command[0]) if self.command else "a process"  # noqa: PTH119  # text in
        return f"{name[:40]} (process {self.pid})"


def holder_of(address: ListenAddress) -> Holder | None:
    """The process that listens there; None where none does, or nothing can be known."""
    if address.path is not None:
        return _of_unix(address.path)
    inodes = set(_inodes(address))
    if not inodes:
        return None
    for entry in _PROC.glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(entry.readlink()) in inodes:
                pid = int(entry.parts[2])
                return _holder(pid)
    return Holder(None)


def _of_unix(path: str) -> Holder | None:
    with suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        probe.connect(path)
        pid = struct.unpack("=3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return _holder(pid)
    return None


def _holder(pid: int) -> Holder:
    uid = None
    with suppress(OSError):
        uid = (_PROC / str(pid)).stat().st_uid
    return Holder(pid, _command(pid), uid)


def _command(pid: int) -> tuple[str, ...]:
    with suppress(OSError):
        return tuple((_PROC / str(pid) / "cmdline").read_bytes()[:4096].decode("utf-8", "replace").split("\0"))
    return ()


def _inodes(address: ListenAddress) -> Iterator[str]:
    """The listening sockets that are in the way, as the links of descriptors name them."""
    wanted = _packed(address.host) if address.host else None
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / name).read_text("ascii").splitlines()[1:]:
                words = line.split()
                host, _, port = words[1].partition(":")
                if words[3] == _LISTENS and int(port, 16) == address.port and _meet(wanted, _unpacked(host)):
                    yield f"socket:[{words[9]}]"


def _meet(wanted: bytes | None, found: bytes) -> bool:
    """Whether two addresses of one port cannot both be listened on."""
    return wanted is None or not any(wanted) or not any(found) or wanted[-len(found) :] == found[-len(wanted) :]


def _packed(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])


def _unpacked(text: str) -> bytes:
    """/proc has each word of 32 bits in the order of the host."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return b"".join(struct.pack("=I", word) for word in words)
