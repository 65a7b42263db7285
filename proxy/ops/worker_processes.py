"""Worker processes as their supervisor has them: forked, spoken to, and reaped.

A worker is forked from a process without threads and without a loop, with all signals blocked, so that none of the
supervisor's is handled twice. What it inherits and must not have is closed first of all.

A message is a line of JSON over a pair of sockets. The supervisor's end never waits: what a worker does not take at
once is kept until it does. A worker may have been taken over by a client, so nothing that one says may do more than end
it: what is kept, and what is read in one turn, is bounded, and whatever is not a message of the form is a ChannelError.
A worker that talks nonsense, or takes nothing, is to be ended, never to be waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from proxy.config.host import ExitCode
from proxy.config.settings import Loaded
from proxy.core.metrics import Snapshot, read_snapshot
from proxy.ops.journal import log, outcome
from proxy.ops.places import Held
from proxy.ops.process import SelectorLoop, Timer
from proxy.ops.roster import State

#: The longest messages are of metrics: of what every process has, and of each route and upstream.
MAX_LINE_BYTES = 64 * 1024 * 1024
_BASE_BYTES, _BYTES_EACH = 4 * 1024 * 1024, 16 * 1024
#: Messages that wait for a worker; one that does not take so many takes nothing.
MAX_UNSENT_LINES = 4
#: What is read from one worker before it is the others' turn.
MAX_READ_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024
_SMALL_BYTES = 4096
#: What a number in a message may be. Sums of these stay numbers.
MAX_NUMBER = 1 << 62

Message = dict[str, Any]


class ChannelError(Exception):
    """The other end does not keep to the form."""


def line_limit(parts: int) -> int:
    """How long a message may be where there are so many routes and upstreams."""
    return min(_BASE_BYTES + parts * _BYTES_EACH, MAX_LINE_BYTES)


def number_of(message: Message) -> int:
    """Which question a message speaks of. ChannelError where it does not say."""
    number = message.get("number")
    if type(number) is not int or not 0 <= number <= MAX_NUMBER:
        raise ChannelError("no number")
    return number


def metrics_of(message: Message) -> Snapshot:
    """The metrics in a message. ChannelError where they are not whole and of the form."""
    try:
        return read_snapshot(message.get("metrics"))
    except ValueError as error:
        raise ChannelError(str(error)) from None


def encode(kind: str, **fields: object) -> bytes:
    """A message's line."""
    return json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode("utf-8") + b"\n"


class Lines:
    """Cuts what is received into messages, none of them longer than ``limit``."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = MAX_LINE_BYTES if limit is None else limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. ChannelError where one is none."""
        *whole, rest = data.split(b"\n")
        messages = []
        for line in whole:
            self._take(line)
            messages.append(_decode(b"".join(self._pieces)))
            self._pieces, self._size = [], 0
        self._take(rest)
        return messages

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise ChannelError("a line without an end")
        # One piece of bytes each costs more than the bytes, where they come one by one.
        if self._pieces and len(piece) < _SMALL_BYTES and len(self._pieces[-1]) < _SMALL_BYTES:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)


def _decode(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ChannelError("no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ChannelError("no message")
    return message


class Wire:
    """The supervisor's end of one worker's channel. ``limit`` is the length of a message, in bytes."""

    def __init__(self, sock: socket.socket, limit: int | None = None) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._lines = Lines(limit)
        self._most_unsent = MAX_UNSENT_LINES * (MAX_LINE_BYTES if limit is None else limit)
        self._unsent = bytearray()
        self.ended = False

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    @property
    def waits(self) -> bool:
        """Whether something is to be sent as soon as the worker takes it."""
        return bool(self._unsent)

    def send(self, kind: str, **fields: object) -> None:
        """Send a message, or keep it. ChannelError where too much is kept already."""
        if self.ended:
            return
        if len(self._unsent) > self._most_unsent:
            raise ChannelError("nothing is taken")
        self._unsent += encode(kind, **fields)
        self.flush()

    def flush(self) -> None:
        """Send what is kept, as far as it goes."""
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()

    def receive(self) -> list[Message]:
        """What has come, as much as one turn reads; at the end ``ended`` is true. ChannelError where it is nonsense."""
        messages: list[Message] = []
        for _ in range(MAX_READ_BYTES // _READ_BYTES):
            if self.ended:
                break
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.ended = not data
            messages += self._lines.feed(data)
        return messages

    def close(self) -> None:
        """Give it back."""
        self.ended = True
        self._unsent.clear()
        self._socket.close()


#: A worker whose channel has ended can be told nothing: it is about to exit, or there is something wrong with it.
MUTE_S = 15.0
#: Looks at the channel of one that has exited. Whoever else has its end could go on for ever.
_LAST_LOOKS = 4


@dataclass(frozen=True, slots=True, eq=False)
class WorkerPlan:
    """What workers work by: one load of the configuration and its sockets."""

    loaded: Loaded
    held: list[Held]

    def close_others(self, kept: WorkerPlan, *, unlink: bool = True) -> None:
        """Close the sockets that ``kept`` does not have."""
        keep = {bound.sock for _, bound in kept.held}
        for _, bound in self.held:
            if bound.sock not in keep:
                bound.close(unlink=unlink)


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One worker. ``heard`` is when it last spoke; times in seconds of the monotonic clock."""

    number: int
    pid: int
    plan: WorkerPlan
    wire: Wire
    started: float
    heard: float
    state: State = State.STARTING
    deadline: Timer | None = None  # for what it is expected to do

    def __str__(self) -> str:
        return f"worker {self.number + 1} (pid {self.pid})"

    def has_done_it(self) -> None:
        """What it was expected to do."""
        if self.deadline is not None:
            self.deadline.cancel()

    def kill(self) -> None:
        """End it without asking."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None


class WorkerProcesses:
    """All workers there are, whatever they do, by process id. ``hear`` is called with what one says."""

    def __init__(self, loop: SelectorLoop, hear: Callable[[WorkerProcess, Message], None]) -> None:
        self._loop = loop
        self._hear = hear
        self.all: dict[int, WorkerProcess] = {}

    def __bool__(self) -> bool:
        return bool(self.all)

    def add(
        self,
        number: int,
        plan: WorkerPlan,
        forget: Callable[[], None],
        serve: Callable[[socket.socket], int],
        line_bytes: int | None = None,
    ) -> WorkerProcess:
        """Fork another one, whose messages have at most ``line_bytes``. Raises OSError."""
        pid, channel = fork(forget, serve)
        now = self._loop.time()
        process = self.all[pid] = WorkerProcess(number, pid, plan, Wire(channel, line_bytes), now, now)
        self._await(process)
        return process

    def expect(self, process: WorkerProcess, within_s: float, or_else: str) -> None:
        """End one that has not done within so many seconds what it is told now; ``or_else`` is what the log says."""

        def end() -> None:
            log.error("%s %s, and is ended", process, or_else)
            process.kill()

        process.has_done_it()
        process.deadline = self._loop.call_later(within_s, end)

    def tell(self, process: WorkerProcess, kind: str, **fields: object) -> None:
        """Say something to one; it need not listen now."""
        if process.wire.ended:
            return
        try:
            process.wire.send(kind, **fields)
        except ChannelError as error:
            self._end(process, error)
        else:
            self._await(process)

    def tell_all(self, kind: str, **fields: object) -> None:
        """Say something to all."""
        for process in self.all.values():
            self.tell(process, kind, **fields)

    def reap(self) -> list[tuple[WorkerProcess, int]]:
        """Those that have ended, with their exit codes; what they said last is heard before."""
        ended = []
        for process in list(self.all.values()):
            code = process.reap()
            if code is None:
                continue
            for _ in range(_LAST_LOOKS):
                self._listen(process)
            self._unwire(process)
            process.has_done_it()
            del self.all[process.pid]
            ended.append((process, code))
        return ended

    def forget(self) -> None:
        """In a forked worker: close what is the supervisor's."""
        for process in self.all.values():
            process.wire.close()

    def _listen(self, process: WorkerProcess) -> None:
        wire = process.wire
        if wire.ended:
            return
        wire.flush()
        try:
            for message in wire.receive():
                process.heard = self._loop.time()
                self._hear(process, message)
        except ChannelError as error:
            self._end(process, error)
        except Exception:  # noqa: BLE001 - a worker that was taken over must not end all the others by what it says
            log.exception("what %s says cannot be dealt with, and it is ended", process)
            self._end(process, ChannelError("a fault of ours"))
        else:
            self._await(process)

    def _end(self, process: WorkerProcess, why: ChannelError) -> None:
        log.error("%s is not understood, and is ended: %s", process, why)
        process.kill()
        self._unwire(process)

    def _await(self, process: WorkerProcess) -> None:
        """Listen for what it says, and for room where something waits for it."""
        if process.wire.ended:
            self.expect(process, MUTE_S, "has closed its channel and not ended")
            self._unwire(process)
            return
        self._loop.add_reader(process.wire.fileno(), lambda: self._listen(process), also_writable=process.wire.waits)

    def _unwire(self, process: WorkerProcess) -> None:
        if process.wire.fileno() >= 0:
            self._loop.remove_reader(process.wire.fileno())
            process.wire.close()


def fork(forget: Callable[[], None], serve: Callable[[socket.socket], int]) -> tuple[int, socket.socket]:
    """Fork a process that runs ``serve`` with its end of a channel, and exits with what that returns or its failure
    means. First of all it forgets what is the supervisor's alone. Gives its id and our end. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    _flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _live(forget, serve, ours, theirs, mask)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid, ours


def _live(
    forget: Callable[[], None],
    serve: Callable[[socket.socket], int],
    ours: socket.socket,
    theirs: socket.socket,
    mask: Iterable[int],
) -> NoReturn:
    """The whole life of a worker. It never returns: the callers of fork() are the supervisor's."""
    code: int = ExitCode.SOFTWARE

    def begin() -> int:
        ours.close()
        forget()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return serve(theirs)

    try:
        code = outcome(begin)
    finally:
        try:
            _flush()
        finally:
            os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
