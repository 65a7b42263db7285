"""sd_notify(3), the little of it that we need: lines in a datagram to the socket that systemd names.

Without ``NOTIFY_SOCKET`` nothing is sent. What cannot be sent is not worth a failure: systemd's own time-outs say so
soon enough. Only the main process of a service may speak (``NotifyAccess=main``), so workers never do.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

#: systemd reads at once. A manager that does not must not stop us.
SEND_TIMEOUT_S = 0.2


class Notifier:
    """Tells the service manager how the process fares."""

    def __init__(self, address: str = "", watchdog_usec: int = 0) -> None:
        """``address`` is a path, "@name" in the abstract namespace, or "" for nobody."""
        self._socket: socket.socket | None = None
        #: How often ``alive`` is to be called, in seconds; 0 is never. Half of what systemd waits for.
        self.watchdog_s = watchdog_usec / 2e6
        if address[:1] not in {"/", "@"}:
            return
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SEND_TIMEOUT_S)

    @classmethod
    def of(cls, environ: Mapping[str, str], *, heir: bool = False) -> Notifier:
        """As ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say.

        ``heir``: we replace the process that the watchdog was meant for.
        """
        usec = environ.get("WATCHDOG_USEC", "")
        meant = heir or environ.get("WATCHDOG_PID") in {None, "", str(os.getpid())}
        usable = meant and usec.isascii() and usec.isdecimal() and len(usec) < 18
        return cls(environ.get("NOTIFY_SOCKET", ""), int(usec) if usable else 0)

    def ready(self, status: str) -> None:
        """We serve: after the start, and after each reload, however it ended."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins (``Type=notify-reload`` compares the time with that of its signal)."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """What ``systemctl status`` shows."""
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        """The watchdog's sign of life."""
        self._send("WATCHDOG=1")

    def main_pid(self, pid: int) -> None:
        """From now on another process is the service's main one, and speaks for it."""
        self._send(f"MAINPID={pid}")

    def close(self) -> None:
        """Speak no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        # A line ends a field, so a status has one line.
        text = "\n".join(line.replace("\n", " ") for line in lines)
        with contextlib.suppress(OSError):
            self._socket.sendto(text.encode("utf-8", "replace"), self._address)
