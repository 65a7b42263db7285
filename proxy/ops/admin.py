"""What a worker answers to those who run hookward: on the admin listener, on its private socket, and in the console.

The admin listener has ``/livez``, ``/readyz``, ``/metrics`` and ``/status``, and no command that changes anything. It
is never on a public port, and its Host must name this host: a web page that its author lets resolve to 127.0.0.1 (DNS
rebinding) gets nothing, and neither does a page of another origin.

The private socket answers commands of the same user, and other workers of the same process: a unix socket of mode 0600
in ``state_dir``, else in the folder of the host for such files; where there is none, the worker goes without. Only its
own user and root are answered, whatever the file's mode has become. What can be asked is a table of places that the
parts of the worker fill (``paths``).

The console is imported where it is configured, and opened when the worker serves. It asks of the worker what its
protocol names, and nothing else.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Protocol
from urllib.parse import parse_qs

import proxy
from proxy.config.guarded_files import reach
from proxy.config.settings import Settings
from proxy.core.metrics import CONTENT_TYPE, OPEN_METRICS_TYPE, plain_snapshot
from proxy.errors import ConfigError
from proxy.net.http_server import JSON, TEXT, Answer, Answering, HttpServer, Paths, Request, is_own_origin, names_us
from proxy.net.private import find, folders, socket_name
from proxy.net.site import Site
from proxy.net.sockets import BoundSocket, ListenError, listen_unix
from proxy.ops.journal import audit, log
from proxy.ops.listeners import OwnListeners
from proxy.ops.places import CONSOLE
from proxy.values import frozen

#: What readiness is made of. A probe may leave some of it out, as at the API server of Kubernetes:
#: ``/readyz?exclude=upstream``.
PARTS = ("draining", "listener", "relay", "upstream", "queue")

#: Gives status, kind and content.
Page = Callable[["Status", Request], Coroutine[None, None, Answer]]


class Status(Protocol):
    """What is asked of the worker."""

    def not_ready(self) -> dict[str, str]:
        """Why no delivery can be taken now, a line for each part (of PARTS); empty when all is well."""

    async def expose(self) -> bytes:
        """The metrics in Prometheus' text format. Raises TimeoutError where other workers had to be asked in vain."""

    async def expose_open_metrics(self) -> bytes:
        """The same in OpenMetrics' text format."""

    async def describe(self) -> dict[str, object]:
        """The configuration in force and the state of the parts, for JSON. Raises TimeoutError likewise."""


class AdminServer(HttpServer):
    """The admin listener and its connections."""

    def __init__(self, status: Status, hosts: frozenset[str] = frozenset()) -> None:
        """``hosts`` are names (lower case) the admin listener answers to, besides those of loopback."""
        super().__init__(self._judge)
        self._hosts = hosts
        self._pages = Paths({place: _shown(status, page) for place, page in _PAGES.items()})

    def _judge(self, request: Request) -> Answering:
        if not names_us(request, self._hosts):
            return Answer(403, TEXT, b"host_refused\n")
        if not is_own_origin(request.head):
            return Answer(403, TEXT, b"origin_refused\n")
        return self._pages.respond(request)


def _shown(status: Status, page: Page) -> Callable[[Request], Answering]:
    async def show(request: Request) -> Answer:
        try:
            return await page(status, request)
        except TimeoutError:
            return Answer(503, TEXT, b"workers_silent\n")

    return show


def prefers_open_metrics(accept: bytes) -> bool:
    """Whether an ``Accept`` value wants OpenMetrics at least as much as the older text."""
    wanted = dict(_weights(accept))
    return wanted.get(b"application/openmetrics-text", 0.0) >= max(wanted.get(b"text/plain", 0.0), 1e-9)


def _weights(accept: bytes) -> Iterator[tuple[bytes, float]]:
    """Media types and their weights (RFC 9110 section 12.5.1); a weight that is none counts as 0."""
    for part in accept.lower().split(b","):
        kind, *parameters = (piece.strip() for piece in part.split(b";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        yield kind, weight


async def _livez(_status: Status, _request: Request) -> Answer:
    return Answer(200, TEXT, b"alive\n")


async def _readyz(status: Status, request: Request) -> Answer:
    left_out = parse_qs((request.head.query or b"").decode("latin-1"), keep_blank_values=True).get("exclude", [])
    if not set(left_out) <= set(PARTS):
        # Ignored, a misspelt name would make of a probe another one than its author thinks.
        return Answer(400, TEXT, f"exclude knows {', '.join(PARTS)}\n".encode())
    missing = [line for part, line in status.not_ready().items() if part not in left_out]
    if missing:
        return Answer(503, TEXT, "".join(f"not ready: {line}\n" for line in missing).encode("utf-8", "replace"))
    return Answer(200, TEXT, b"ready\n")


async def _metrics(status: Status, request: Request) -> Answer:
    if prefers_open_metrics(request.head.get(b"accept") or b""):
        return Answer(200, OPEN_METRICS_TYPE, await status.expose_open_metrics())
    return Answer(200, CONTENT_TYPE, await status.expose())


async def _status(status: Status, _request: Request) -> Answer:
    return Answer(200, JSON, json.dumps(await status.describe(), indent=1).encode("ascii") + b"\n")


_PAGES = {"GET /livez": _livez, "GET /readyz": _readyz, "GET /metrics": _metrics, "GET /status": _status}


_MODE = 0o600
#: A query with its body, or a delivery that was edited before it is replayed.
MAX_CONTENT = 32 * 1024 * 1024


class PrivateSocket:
    """A worker's private socket. ``process`` is the id that the operator knows: the supervisor's, if there is one."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.paths = Paths({"GET /": self._who})
        self.path: str | None = None  # where it is open
        self._server = HttpServer(self._judge, max_content=lambda asked: MAX_CONTENT if _is_ours(asked) else 0)
        self._bound: BoundSocket | None = None

    async def open(self, state_dir: str | None, environ: Mapping[str, str]) -> None:
        """Listen in the best folder that there is. Never raises: deliveries do not need it."""
        places = folders(state_dir, environ)
        for place in places:
            try:
                self._bound = _bind(place, socket_name(self.process, os.getpid()))
            except (OSError, ListenError) as error:
                log.debug("no private socket in %s: %s", place, error)
                continue
            self.path = str(self._bound.address.path)
            await self._server.listen(self._bound.sock)
            return

    @property
    def siblings_folder(self) -> str | None:
        """Where the sockets of the other workers lie."""
        return None if self.path is None else str(Path(self.path).parent)

    def close(self) -> None:
        """Stop listening, and remove the file."""
        self._server.close()
        if self._bound is not None:
            self._bound.close()

    def _judge(self, request: Request) -> Answering:
        if not _is_ours(request):
            return Answer(403, TEXT, b"only the user that hookward runs as, and root, are answered\n")
        return self.paths.respond(request)

    def _who(self, _request: Request) -> Answer:
        return Answer(
            200,
            JSON,
            b'{"process": %d, "worker": %d, "version": "%b"}\n'
            % (self.process, os.getpid(), proxy.__version__.encode("ascii")),
        )


def _is_ours(request: Request) -> bool:
    return request.caller.uid in (0, os.geteuid())


def _bind(folder: str, name: str) -> BoundSocket:
    place = str(Path(folder).absolute())  # what the kernel tells of it must say where it is
    with suppress(FileExistsError):
        Path(place).mkdir(0o700)  # its parents are the host's to make
    with reach(f"{place}/{name}") as spot:
        if spot.shared and spot.owner not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, "the folder is another user's")
    for end in find([place]):
        _remove_left_over(end.path)
    return listen_unix(f"{place}/{name}", _MODE)


def _remove_left_over(path: str) -> None:
    """Remove the socket of a process that was killed."""
    with suppress(OSError), reach(path, to_link=True) as spot, socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(spot.path) == errno.ECONNREFUSED:
            spot.unlink()


Describe = Callable[[], Awaitable[dict[str, object]]]


def import_console(settings: Settings) -> ModuleType | None:
    """The module of a console that is configured, imported before the user changes: that one may not read it."""
    if settings.console is None:
        return None
    from proxy.console import console

    return console


@frozen
class _OfWorker:
    """What the console may ask of its worker."""

    describe: Describe
    process: int

    def reload(self) -> None:
        """Have the process load its configuration again. OSError where it is another user's."""
        os.kill(self.process, signal.SIGHUP)


async def open_console(
    settings: Settings, site: Site, own: OwnListeners, private: PrivateSocket, describe: Describe
) -> Callable[[], None]:
    """Keep what comes from now on, and serve it, where that is configured. Gives what ends it. Raises ConfigError."""
    paths = private.paths
    paths.add("GET /metrics", lambda _: Answer(200, JSON, json.dumps(plain_snapshot(site.metrics.snapshot())).encode()))
    if settings.console is None:
        paths.add("POST /console/stream", lambda request: _lend(site, request))
        return lambda: None
    from proxy.console import console as wing
    from proxy.console import copies

    listen = settings.console.listen
    try:
        console = wing.Console(
            settings.console,
            site,
            _OfWorker(describe, private.process),
            private,
            state_dir=settings.state_dir,
            hosts={listen.host.lower(), *own.names} - {""},
            audit=audit,
        )
    except copies.StoreFailedError as error:
        mend = "let the user that hookward runs as write there, or name another file"
        what = f"{settings.console.store} cannot be used ({error})"
        raise ConfigError.of("console.store", what, mend) from None
    scheme = "http" if listen.is_local else "https"
    console.places += [f"{scheme}://{bound}" for place, bound in own.held if place.use == CONSOLE]
    await own.serve(CONSOLE, console.server, secure=not listen.is_local)
    return console.close


def _lend(site: Site, request: Request) -> Answer:
    """What comes from now on, of a worker without a console."""
    try:
        from proxy.console import desk
    except ImportError:
        return Answer(503, TEXT, b"the user that serves cannot read the package: configure [console]\n")
    return desk.stream_without_console(site, request)
