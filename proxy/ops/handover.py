"""An upgrade without a lost connection: a new process takes over the listening sockets of the one that runs.

The old process starts the new one as it was started itself, from the same command line, with the sockets inherited and
named in one environment variable. The new one binds only what is missing, says so when it serves, and waits with
everything that only one of them may do (speaking to systemd) until the old one has said that it is its turn. Where the
new one ends before that, or takes too long, the old one goes on as if nothing had happened. While both are there both
accept: the sockets, and so the connections that wait, are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterable, MutableMapping

from proxy.config.endpoints import read_listen
from proxy.errors import ConfigError, Mistake
from proxy.net.sockets import BoundSocket
from proxy.ops.places import Held, ListenPlace
from proxy.values import mutable

#: Set by the old process for the new one only.
VARIABLE = "HOOKWARD_HANDOVER"
#: A new process that does not serve by then never will.
PATIENCE_S = 60.0

_READY = b"ready\n"


class NewProcess:
    """The new process, as the old one sees it."""

    def __init__(self, held: Iterable[Held], environ: MutableMapping[str, str], command: list[str]) -> None:
        """Start it. Raises OSError."""
        ours, theirs = socket.socketpair()
        held = list(held)
        message = {"channel": theirs.fileno(), "sockets": [_described(place, bound) for place, bound in held]}
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line
                    command,
                    env={**environ, VARIABLE: json.dumps(message)},
                    pass_fds=[theirs.fileno(), *(bound.sock.fileno() for _, bound in held)],
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        self._said = b""
        self._ended = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fileno(self) -> int:
        """What becomes readable when it has something to say."""
        return self._socket.fileno()

    def serves(self) -> bool | None:
        """Whether it serves: None as long as it is not known. False: it has ended."""
        with contextlib.suppress(BlockingIOError):
            try:
                data = self._socket.recv(64)
            except ConnectionError:
                data = b""
            self._said += data
            if self._said == _READY:
                return True
            self._ended = not data
        return False if self._ended else None

    def close(self) -> None:
        """Give back our end of the channel."""
        self._socket.close()

    def confirm(self) -> None:
        """It is its turn now."""
        self.close()
        # It outlives us: without this, Popen would warn that we do not wait for it.
        self._process.returncode = 0

    def give_up(self) -> int:
        """End it, where it does not end by itself; its exit code."""
        self._socket.close()
        try:
            # Its end of the channel is closed a moment before it has exited.
            return self._process.wait(1.0 if self._ended else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@mutable
class OldProcess:
    """What the old process has left to the new one, as the new one sees it."""

    held: list[Held]
    channel: socket.socket

    def say_ready(self) -> None:
        """Tell the old process that we serve."""
        with contextlib.suppress(OSError):
            self.channel.sendall(_READY)

    def fileno(self) -> int:
        """What becomes readable when it is our turn."""
        return self.channel.fileno()

    def close(self) -> None:
        """It is our turn, or the old process is gone."""
        self.channel.close()


def receive(environ: MutableMapping[str, str]) -> OldProcess | None:
    """What was handed to this process, if anything; the variable is removed, so that no child takes it for its own."""
    text = environ.pop(VARIABLE, "")
    if not text:
        return None
    try:
        message = json.loads(text)
        held = [_adopted(one) for one in message["sockets"]]
        channel = socket.socket(fileno=_closed_on_exec(message["channel"]))
    except (ValueError, KeyError, TypeError, OSError, Mistake):
        mend = "it is set by a running hookward for the process that replaces it: unset it"
        raise ConfigError.of(VARIABLE, "does not name sockets that were handed over", mend) from None
    return OldProcess(held, channel)


def _described(place: ListenPlace, bound: BoundSocket) -> dict[str, object]:
    return {
        "fd": bound.sock.fileno(),
        "use": place.use,
        "place": str(place.address),
        "address": str(bound.address),
        "inode": bound.inode,
    }


def _adopted(one: dict[str, object]) -> Held:
    descriptor = one["fd"]
    sock = socket.socket(fileno=_closed_on_exec(descriptor))
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise ValueError("no listening socket")
    sock.setblocking(False)
    inode = one["inode"]
    pair = (int(inode[0]), int(inode[1])) if isinstance(inode, list) else None
    return ListenPlace(str(one["use"]), read_listen(one["place"])), BoundSocket(sock, read_listen(one["address"]), pair)


def _closed_on_exec(descriptor: object) -> int:
    if not isinstance(descriptor, int) or descriptor <= 2:
        raise ValueError("no descriptor that is ours to take")
    os.set_inheritable(descriptor, False)
    return descriptor
