"""Where a process listens, the sockets that are bound there already, how a new process takes them over, and the user
that serves.

A place is what the configuration says; its sockets may come from elsewhere: from the supervisor that bound them for all
its workers, or from the process that ran before an upgrade. What is there is taken, what is missing is bound, all or
nothing. Nothing here accepts, or knows a policy.

An upgrade loses no connection: the old process starts the new one as it was started itself, from the same command line,
with the sockets inherited and named in one environment variable. The new one binds only what is missing, says so when
it serves, and waits with everything that only one of them may do (speaking to systemd) until the old one has said that
it is its turn. Where the new one ends before that, or takes too long, the old one goes on as if nothing had happened.
While both are there both accept: the sockets, and so the connections that wait, are the same.

Root binds port 443 and reads the keys, and then becomes another user. The order matters: first the supplementary
groups, then the group, then the user, for each step needs the right that the last one gives up. Real, effective and
saved ids all change, and it is tried whether there is a way back. Who serves by itself becomes the user when everything
is open; under a supervisor each worker does, and the supervisor, which hears no stranger, stays what it was, so that it
can read keys and bind ports for a reload.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

from proxy.config.guarded_files import give_away
from proxy.config.host import Identity
from proxy.config.notation import ListenAddress, read_listen
from proxy.config.settings import Settings, identity_of
from proxy.errors import ConfigError, Mistake
from proxy.net.sockets import BoundSocket, NotPermittedError, listen_all
from proxy.ops.journal import log
from proxy.values import frozen, mutable

WEBHOOKS = "webhooks"
ADMIN = "admin"
CONSOLE = "console"


@frozen
class ListenPlace:
    """One entry of ``listen``, of a plain TCP forward ("tcp NAME"), of ``admin`` or ``console``, and its use."""

    use: str
    address: ListenAddress


def tcp(name: str) -> str:
    """What the place of a plain TCP forward is for."""
    return f"tcp {name}"


def places_of(settings: Settings) -> list[ListenPlace]:
    """Every place of a configuration."""
    places = [ListenPlace(WEBHOOKS, address) for address in settings.listen]
    places += [ListenPlace(tcp(forward.name), forward.listen) for forward in settings.tcp]
    return places + own_places(settings)


def own_places(settings: Settings) -> list[ListenPlace]:
    """Those that are for the operator, not for deliveries."""
    console = None if settings.console is None else settings.console.listen
    return [
        ListenPlace(use, place) for use, place in ((ADMIN, settings.admin), (CONSOLE, console)) if place is not None
    ]


Held = tuple[ListenPlace, BoundSocket]


def shown(held: Iterable[Held]) -> list[tuple[str, str]]:
    """For the banner: "" (webhooks), "admin" or a forward's name, and where it listens now."""
    return [("" if place.use == WEBHOOKS else place.use.removeprefix(tcp("")), str(bound)) for place, bound in held]


class SocketStore:
    """Sockets that wait to be used, by place. ``environ`` is where systemd says which sockets it passed."""

    def __init__(self, environ: Mapping[str, str], held: Iterable[Held] = ()) -> None:
        self._environ = environ
        self._held = list(held)

    def take(self, places: Sequence[ListenPlace]) -> list[Held]:
        """The sockets for ``places``; those that are held are held no longer. ListenError, and nothing has changed."""
        held = {place for place, _ in self._held}
        fresh = self._bind([place for place in places if place not in held])
        taken = set(places)
        mine = [one for one in self._held if one[0] in taken]
        self._held = [one for one in self._held if one[0] not in taken]
        return mine + fresh

    def _bind(self, places: Sequence[ListenPlace]) -> list[Held]:
        # In one call, which is all or nothing and sees "[::]:443" and "0.0.0.0:443" side by side.
        bound = deque(listen_all([place.address for place in places], self._environ))
        result: list[Held] = []
        for place in places:
            result.append((place, bound.popleft()))
            # systemd may pass several sockets under one name; two equal entries with port 0 are two sockets.
            while place.address.fd_name is not None and bound and bound[0].address == place.address:
                result.append((place, bound.popleft()))
        return result

    def close(self, *, unlink: bool = True) -> None:
        """Close what was not taken."""
        for _, bound in self._held:
            bound.close(unlink=unlink)
        self._held = []


#: Set by the old process for the new one only.
HANDOVER_VARIABLE = "HOOKWARD_HANDOVER"
#: A new process that does not serve by then never will.
HANDOVER_S = 60.0

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
                    env={**environ, HANDOVER_VARIABLE: json.dumps(message)},
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
    text = environ.pop(HANDOVER_VARIABLE, "")
    if not text:
        return None
    try:
        message = json.loads(text)
        held = [_adopted(one) for one in message["sockets"]]
        channel = socket.socket(fileno=_closed_on_exec(message["channel"]))
    except (ValueError, KeyError, TypeError, OSError, Mistake):
        mend = "it is set by a running hookward for the process that replaces it: unset it"
        raise ConfigError.of(HANDOVER_VARIABLE, "does not name sockets that were handed over", mend) from None
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


#: Nothing that we create is for all users; what its owner's group may read says so by its own mode.
UMASK = 0o027


def become(settings: Settings, sockets: Iterable[str] = ()) -> None:
    """Become the user that the settings name, for good, and give it ``sockets``, the files of the unix sockets that we
    made. Does nothing where none is named or we are that user already.

    Raises ConfigError, and NotPermittedError where we are not root.
    """
    identity = identity_of(settings)
    if identity is None or identity.is_ours:
        return
    if os.geteuid() != 0:
        raise NotPermittedError(f"cannot run as {identity.name}: only root can become another user")
    _give_log(settings.access_log, identity)
    for path in sockets:
        try:
            give_away(path, identity.uid, identity.gid, kind=stat.S_ISSOCK)
        except OSError as error:
            log.warning("%s is not given to %s: %s", path, identity.name, error.strerror)  # no longer ours, or gone
    identity.assume()
    _check(identity)
    log.info("running as %s (uid %d, gid %d)", identity.name, identity.uid, identity.gid)
    if settings.state_dir is not None and not os.access(settings.state_dir, os.W_OK | os.X_OK):
        log.warning("%s may not write to %s: nothing outlives a restart", identity.name, settings.state_dir)


def owners_of(settings: Settings) -> tuple[int, ...]:
    """The user that the settings name, as an owner of files that we write to."""
    identity = identity_of(settings)
    return () if identity is None else (identity.uid,)


def advice(settings: Settings) -> list[str]:
    """What the banner says of the rights that we keep without need."""
    if os.geteuid() != 0 or settings.user is not None:
        return []
    return ["running as root: --user NAME (or `user`) gives up what is not needed once the sockets are open"]


def _check(identity: Identity) -> None:
    """A way back to root would make all of it a show."""
    ids = (os.getresuid(), os.getresgid(), set(os.getgroups()))
    wanted = ((identity.uid,) * 3, (identity.gid,) * 3, set(identity.groups))
    # Some systems list the group itself among the supplementary ones.
    if ids[:2] != wanted[:2] or ids[2] - {identity.gid} != wanted[2] - {identity.gid}:
        raise NotPermittedError(f"cannot run as {identity.name}: the system kept some of root's rights")
    if identity.uid != 0:
        with contextlib.suppress(PermissionError):
            os.setuid(0)
            raise NotPermittedError(f"cannot run as {identity.name}: the way back to root is open")


def _give_log(path: str, identity: Identity) -> None:
    """The access log is opened by root and opened again, after a rotation, by the user. Only a plain file is given."""
    if path in ("-", "off"):
        return
    with contextlib.suppress(OSError):
        give_away(path, identity.uid, identity.gid)
