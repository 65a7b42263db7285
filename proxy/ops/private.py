"""The private socket of a worker: what commands of the same user, and other workers of the same process, ask of it.

A unix socket of mode 0600 in ``state_dir``, else in the folder of the host for such files; where there is none, the
worker goes without. Only its own user and root are answered, whatever the file's mode has become. What can be asked is
a table of places that the parts of the worker fill (``paths``); this module knows only ``GET /``.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import proxy
from proxy.config.guarded_files import reach
from proxy.net.http_server import JSON, TEXT, Answer, Answering, HttpServer, Paths, Request
from proxy.net.private import find, folders, socket_name
from proxy.net.sockets import BoundSocket, ListenError, listen_unix
from proxy.ops.journal import log

MODE = 0o600
#: A query with its body, or a delivery that was edited before it is replayed.
MAX_CONTENT = 32 * 1024 * 1024


class PrivateSocket:
    """One worker's. ``process`` is the id that the operator knows: the supervisor's, where there is one."""

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
    return listen_unix(f"{place}/{name}", MODE)


def _remove_left_over(path: str) -> None:
    """Remove the socket of a process that was killed."""
    with suppress(OSError), reach(path, to_link=True) as spot, socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(spot.path) == errno.ECONNREFUSED:
            spot.unlink()
