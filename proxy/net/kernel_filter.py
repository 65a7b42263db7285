"""The kernel's part of admission (Linux): a listening socket drops the packets of addresses that no list admits.

``core.bpf`` makes the program, ``SO_ATTACH_FILTER`` (socket(7)) puts it on the socket, one in place of another in one
step; neither needs a privilege. A refused peer then gets no answer at all, and costs neither a connection nor any work
of this process. A connection that comes through is judged again after accept, so where the kernel takes no program, or
only a wider one, nothing is let in: it is logged once, and the peer is reset as without a filter. This module knows no
policy, and is imported where it is configured.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from array import array
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from proxy.core.addresses import AddressSet
from proxy.core.bpf import MAX_INSTRUCTIONS, Instruction, Program, fit
from proxy.net.sockets import detach_filter

log = logging.getLogger(__name__)

#: asm-generic/socket.h; the few architectures with other numbers answer "no such option", and go without.
SO_ATTACH_FILTER = 26

#: The program counts as the socket's option memory (net.core.optmem_max), which is 20 KiB on kernels before 6.8:
#: enough for some 1,650 instructions.
SIZES = (MAX_INSTRUCTIONS, 1536, 512)

#: For listeners with the same list, and for reloads that leave it as it is: ten thousand ranges take 0.1 s.
_fit = lru_cache(maxsize=4)(fit)


def attach(sock: socket.socket, instructions: Iterable[Instruction]) -> None:
    """Put a program on a socket, instead of the one that is there. Raises OSError."""
    packed = b"".join(struct.pack("=HBBI", *one) for one in instructions)
    # The kernel copies it before it returns, so nothing has to be kept.
    buffer = array("B", packed)
    address, _ = buffer.buffer_info()
    fprog = struct.pack("@HP", len(packed) // 8, address)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)


class KernelFilter:
    """The program on one listening TCP socket, which another owns. ``in_force``: there is one that ``use`` has set."""

    def __init__(self, sock: socket.socket) -> None:
        self.in_force = False
        self._sock = sock
        self._said = ""

    def use(self, addresses: AddressSet | None) -> None:
        """Drop what comes from elsewhere than ``addresses`` (None: nothing). Call it again: others may set theirs."""
        if addresses is None:
            detach_filter(self._sock)
            if self.in_force:
                self._say(logging.INFO, "off: the kernel drops nothing")
            self.in_force = False
            return
        # What never comes to an IPv4 socket would only take room.
        try:
            program = self._attach(
                addresses if self._sock.family == socket.AF_INET6 else replace(addresses, bounds6=())
            )
        except OSError as error:
            detach_filter(self._sock)
            self.in_force = False
            self._say(
                logging.WARNING,
                f"off ({error.strerror or error}): addresses that are not admitted are reset after accept",
            )
            return
        self.in_force = True
        self._report(program)

    def _attach(self, addresses: AddressSet) -> Program:
        if sys.platform != "linux":
            raise OSError(errno.ENOPROTOOPT, "only Linux has it")
        for most in SIZES:
            program = _fit(addresses, most)
            try:
                attach(self._sock, program.instructions)
            except OSError as error:
                if error.errno != errno.ENOMEM or most == SIZES[-1]:
                    raise
            else:
                return program
        raise AssertionError("the last size returns or raises")

    def _report(self, program: Program) -> None:
        size = f"on, {len(program.instructions)} instructions"
        if program.joined:
            wider = f"{program.joined} address ranges were joined with their neighbours to fit"
            self._say(logging.WARNING, f"{size}; {wider}, and what lies between them is reset after accept")
        else:
            self._say(logging.INFO, f"{size}: the kernel drops what no list admits")

    def _say(self, level: int, text: str) -> None:
        if text != self._said:
            self._said = text
            host, port = self._sock.getsockname()[:2]
            log.log(level, "kernel filter of %s %s", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", text)
