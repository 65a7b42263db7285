"""Ending a connection by a reset: its peer cannot take what it has for all, and the kernel keeps nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

#: SO_LINGER on, 0 s: close() sends a reset, and leaves no TIME_WAIT behind.
_AT_ONCE = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close a socket that no transport has."""
    close_by_reset(sock)
    sock.close()


def abort(transport: asyncio.Transport, sock: socket.socket | None) -> None:
    """Close a transport now; what was written and has not left is dropped. ``sock`` is its socket; one whose peer was
    faster has none any more, a moment before its protocol hears of it.
    """
    if sock is not None:
        close_by_reset(sock)
    transport.abort()


def close_by_reset(sock: socket.socket) -> None:
    """Make every later close of ``sock`` a reset."""
    with contextlib.suppress(OSError, ValueError):  # the peer was faster; uvloop says ValueError where it is closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
