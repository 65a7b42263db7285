"""The private sockets of running workers: where they lie, how they are called, and how a command asks them.

Each worker opens one (``ops.admin``), for its own user and root alone. A command finds those of a process, asks each
of them, and puts together what they say; so does the console of one worker with its siblings. HTTP/1.1 with JSON, as
h11 reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from typing import Any

import h11

from proxy.config.guarded_files import reach
from proxy.errors import HookwardError
from proxy.net.sockets import peer_process
from proxy.values import frozen

#: Of a process (that of the supervisor, where there is one) and of one of its workers.
_NAME = re.compile(r"hookward-([1-9][0-9]{0,9})-([1-9][0-9]{0,9})\.sock")
RUN_FOLDER = "/run/hookward"
ANSWER_S = 10.0
MAX_ANSWER_BYTES = 128 * 1024 * 1024
_READ_BYTES = 64 * 1024


class PrivateError(HookwardError):
    """A worker cannot be asked, or says no. ``status`` is that of its answer, 0 without one."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


@frozen
class PrivateEnd:
    """The private socket of one worker, and the process it belongs to."""

    path: str
    process: int
    worker: int


def folders(state_dir: str | None, environ: Mapping[str, str]) -> list[str]:
    """Where private sockets may lie, the best place first."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    places = [
        state_dir or "",
        *environ.get("RUNTIME_DIRECTORY", "").split(":"),  # systemd's, of a unit
        f"{runtime}/hookward" if runtime.startswith("/") else "",
        RUN_FOLDER,
    ]
    return [place for place in dict.fromkeys(places) if place]


def socket_name(process: int, worker: int) -> str:
    """The name of a worker's socket in its folder."""
    return f"hookward-{process}-{worker}.sock"


def find(places: Iterable[str], process: int | None = None, *, everywhere: bool = False) -> list[PrivateEnd]:
    """The sockets in some folders, of one process or of all; ``everywhere``: those in other folders too, where the
    kernel tells (Linux). Some may be left over from processes that were killed.
    """
    paths = [path for place in places for path in _listed(place)]
    if everywhere:
        paths += _bound()
    ends = {}
    for path in paths:
        name = _NAME.fullmatch(path.name)
        if name is not None and process in (None, int(name[1])):
            real = str(path.resolve())
            ends[real] = PrivateEnd(real, int(name[1]), int(name[2]))
    return sorted(ends.values(), key=lambda end: (end.process, end.worker))


def _listed(place: str) -> list[Path]:
    try:
        return list(Path(place).iterdir())
    except OSError:
        return []


def _bound() -> list[Path]:
    """The paths of all unix sockets that the kernel knows (proc_pid_net(5))."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
        return [Path(line.split(" ", 7)[-1].strip()) for line in lines if line.endswith(".sock")]
    return []


async def ask(end: PrivateEnd, method: str, target: str, content: object = None, *, within_s: float = ANSWER_S) -> Any:
    """What a worker answers to one request: the JSON of a good answer. Raises PrivateError."""
    pieces = []
    size = 0
    try:
        async with asyncio.timeout(within_s):
            async for piece in stream(end, method, target, content):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_ANSWER_BYTES:
                    raise PrivateError(f"worker {end.worker} says too much")
    except TimeoutError:
        raise PrivateError(f"worker {end.worker} does not answer within {within_s:g} s") from None
    try:
        return json.loads(b"".join(pieces))
    except ValueError:
        raise PrivateError(f"worker {end.worker} does not answer with JSON") from None


async def ask_all(ends: Iterable[PrivateEnd], method: str, target: str, content: object = None) -> list[Any]:
    """What all workers answer that are there, in the order of ``ends``. PrivateError where one says no."""
    asked = list(ends)
    found = await asyncio.gather(*(ask(end, method, target, content) for end in asked), return_exceptions=True)
    answers = []
    for each in found:
        if isinstance(each, GoneError):
            continue
        if isinstance(each, BaseException):
            raise each
        answers.append(each)
    return answers


class GoneError(PrivateError):
    """Nothing listens there any more."""


async def stream(end: PrivateEnd, method: str, target: str, content: object = None) -> AsyncGenerator[bytes, None]:
    """The content of a worker's answer, as it comes. Raises PrivateError; where nothing listens, GoneError."""
    reader, writer = await _connect(end)
    try:
        connection = h11.Connection(h11.CLIENT)
        body = b"" if content is None else json.dumps(content).encode("ascii")
        fields = [("Host", "localhost"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        for event in (
            h11.Request(method=method, target=target, headers=fields),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            writer.write(connection.send(event) or b"")
        async for piece in _content(connection, reader):
            yield piece
    except (OSError, h11.RemoteProtocolError) as error:
        raise PrivateError(f"worker {end.worker} cannot be asked: {error}") from None
    finally:
        writer.close()


async def _content(connection: h11.Connection, reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    status, refused = 0, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            if status < 300:
                yield bytes(event.data)
            else:
                refused += event.data
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            break
    if status >= 300:
        raise PrivateError(refused[:2000].decode("utf-8", "replace").strip(), status)


async def _connect(end: PrivateEnd) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        with reach(end.path, to_link=True) as spot:  # however long the path is
            await asyncio.get_running_loop().sock_connect(sock, spot.path)
        _judge(end, sock)
        return await asyncio.open_connection(sock=sock)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        raise GoneError(f"{end.path}: nothing listens there") from None
    except OSError as error:
        sock.close()
        raise PrivateError(f"{end.path}: {error.strerror}") from None
    except BaseException:
        sock.close()
        raise


def _judge(end: PrivateEnd, sock: socket.socket) -> None:
    """GoneError where another user listens: anybody may make a file of that name in a folder that is open to all."""
    pid, uid = peer_process(sock) or (0, 0)
    if os.geteuid() not in (0, uid) and uid != 0:
        raise GoneError(f"{end.path} is process {pid}'s of uid {uid}")
