"""sd_notify(3), the little of it that we need: lines in a datagram to the socket that systemd names.

Without ``NOTIFY_SOCKET`` nothing is sent. What cannot be sent is not worth a failure: systemd's own time-outs say so
soon enough. Only the main process of a service may speak (``NotifyAccess=main``), so workers never do.

What is said of a reload is also sent to what waits for it: ``hookward reload``, at the socket of its own that
``HOOKWARD_RELOAD_SOCKET`` names.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from proxy.config.host import RELOAD_VARIABLE

#: systemd reads at once. A manager that does not must not stop us.
SEND_TIMEOUT_S = 0.2
#: A field of ours, which a service manager leaves aside.
REFUSED = "X_HOOKWARD_RELOAD=refused"


class Notifier:
    """Tells the service manager how the process fares."""

    def __init__(self, address: str = "", watchdog_usec: int = 0, reload_address: str = "") -> None:
        """The addresses of the manager and of what waits for a reload: a path, "@name" (abstract) or "" (none)."""
        self._socket: socket.socket | None = None
        self._manager, self._waiting = _address(address), _address(reload_address)
        #: How often ``alive`` is to be called, in seconds; 0 is never. Half of what systemd waits for.
        self.watchdog_s = watchdog_usec / 2e6
        if not self._manager and not self._waiting:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SEND_TIMEOUT_S)

    @classmethod
    def of(cls, environ: Mapping[str, str], *, new: bool = False) -> Notifier:
        """As ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say.

        ``new``: we replace the process that the watchdog was meant for.
        """
        usec = environ.get("WATCHDOG_USEC", "")
        meant = new or environ.get("WATCHDOG_PID") in {None, "", str(os.getpid())}
        usable = meant and usec.isascii() and usec.isdecimal() and len(usec) < 18
        addresses = environ.get("NOTIFY_SOCKET", ""), environ.get(RELOAD_VARIABLE, "")
        return cls(addresses[0], int(usec) if usable else 0, addresses[1])

    def ready(self, status: str, *, refused: bool = False) -> None:
        """We serve: after the start, and after each reload, also one that was ``refused``."""
        said = ["READY=1", f"STATUS={status}{'; the last reload was refused' if refused else ''}"]
        self._send(*said)
        self._send(*said, *([REFUSED] if refused else []), to=self._waiting)

    def reloading(self) -> None:
        """A reload begins (``Type=notify-reload`` compares the time with that of its signal)."""
        said = ["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"]
        self._send(*said)
        self._send(*said, to=self._waiting)

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

    def _send(self, *lines: str, to: str | None = None) -> None:
        address = self._manager if to is None else to
        if self._socket is None or not address:
            return
        # A line ends a field, so a status has one line.
        text = "\n".join(line.replace("\n", " ") for line in lines)
        with contextlib.suppress(OSError):
            self._socket.sendto(text.encode("utf-8", "replace"), address)


def _address(text: str) -> str:
    """What ``sendto`` takes, "" for what is no address."""
    if text[:1] not in {"/", "@"}:
        return ""
    return "\0" + text[1:] if text.startswith("@") else text
