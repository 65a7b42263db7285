"""What the process says about itself: start, reload, drain, trouble, on standard error and to the service manager.
Exchanges have their own log.

On standard error each message is one line, printable ASCII and what a configuration says; a traceback only for bugs of
ours. Here alone failures become messages and exit codes, for the command line and for each worker.

What the reader of standard error (a shell's pipe, systemd, a container's shim) does not take in time is dropped and
counted: a write would wait for ever where it has stopped, on the loop of a worker or in the supervisor of all. The
flags of standard error are also those of all others that have it open, so it is opened once more, or, where it is a
socket, told with each write not to wait. There is no thread, for a supervisor must not have one. A reader that is
merely slow is waited for a little; one that reads nothing is waited for once.

A service manager is told by the little of sd_notify(3) that we need: lines in a datagram to the socket that
``NOTIFY_SOCKET`` names; without it nothing is sent. What cannot be sent is not worth a failure: systemd's own time-outs
say so soon enough. Only the main process of a service may speak (``NotifyAccess=main``), so workers never do. What is
said of a reload is also sent to what waits for it: ``hookward reload``, at the socket of its own that
``HOOKWARD_RELOAD_SOCKET`` names.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO

from proxy.config.host import RELOAD_VARIABLE, ExitCode, how_to_install, visible, whole_lines
from proxy.errors import ConfigError, FlagError, Problem
from proxy.net.sockets import ListenError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_HANDLER_NAME = "hookward-journal"

#: What every start needs; a checkout that was not installed has none of it.
NEEDED = {"h11"}

log = logging.getLogger("proxy")
#: What was done and seen through the console, whatever level the log has.
_AUDIT = logging.getLogger("proxy.audit")
_AUDIT.setLevel(logging.INFO)


def open_journal(level: str, stream: TextIO | None = None, *, name: str = "") -> None:
    """Send the messages of this process and its loop to ``stream``, each behind ``name``. May be called again."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if handler.name == _HANDLER_NAME:
            root.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.name = _HANDLER_NAME
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {name}%(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    root.addHandler(handler)
    # Debug messages are ours to ask for; asyncio's own would fill a disk.
    root.setLevel(max(LEVELS[level], logging.INFO))
    log.setLevel(LEVELS[level])


def audit(line: str) -> None:
    """Say in one line what was done or seen, and by what."""
    _AUDIT.info("%s", visible(line).replace("\n", "\\n"))  # what is asked for may have line ends in its name


def problem_lines(problems: Iterable[Problem]) -> str:
    """All problems at once: where, what, and below it how to mend it."""
    return "\n".join(str(problem) for problem in problems)


def outcome(run: Callable[[], int]) -> int:
    """The exit code of ``run``; what it raises is told on standard error."""
    try:
        return run()
    except FlagError as error:
        return _fail(ExitCode.USAGE, "hookward: the command line cannot be used", error.problems)
    except ConfigError as error:
        return _fail(ExitCode.CONFIG, "hookward: the configuration cannot be used", error.problems)
    except ListenError as error:
        print(visible(f"hookward: {error}"), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader has seen enough ("hookward providers | head"); what is buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        return 128 + 2  # as a shell says of SIGINT
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            traceback.print_exc()
            return ExitCode.SOFTWARE
        print(f"hookward: the Python package {error.name} is not installed here: {how_to_install()}", file=sys.stderr)
        return ExitCode.CONFIG
    except Exception:  # noqa: BLE001 - the last resort: a bug of ours
        traceback.print_exc()
        return ExitCode.SOFTWARE


def _fail(code: ExitCode, headline: str, problems: Iterable[Problem]) -> int:
    print(headline, file=sys.stderr)
    for problem in problems:
        print(visible(str(problem)), file=sys.stderr)
    return code


#: How long all that is said at a start may wait.
START_S = 2.0
#: How long a burst of lines may wait in all, once we serve; each line that goes out gives back a part of it.
BURST_S = 0.05
_GIVEN_BACK_S = 0.001
#: What is written without an end of line is a line all the same.
_MAX_LINE = 64 * 1024


class StandardError(io.TextIOBase):
    """A text stream over ``descriptor`` that never waits for long. ``dropped`` counts lines."""

    def __init__(self, descriptor: int) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._send, self._release = _sender(descriptor)
        self._text = ""
        self._told = 0
        self._is_cut = False
        self._patience_s = START_S

    def write(self, text: str) -> int:
        """Take ``text``; whole lines of it are written, or dropped."""
        self._text += text
        end = self._text.rfind("\n") + 1 or (len(self._text) if len(self._text) > _MAX_LINE else 0)
        if end:
            lines, self._text = self._text[:end], self._text[end:]
            self._put(lines)
        return len(text)

    def flush(self) -> None:
        """There is nothing that waits but the beginning of a line."""

    def serves(self) -> None:
        """From now on others wait while we do."""
        self._patience_s = min(self._patience_s, BURST_S)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor that was given."""
        return self._descriptor

    def close(self) -> None:
        """Give back what was opened; the descriptor that was given stays open."""
        if not self.closed:
            self._release()
        super().close()

    def _put(self, lines: str) -> None:
        if self.dropped != self._told:
            told = f"hookward: {self.dropped} lines were dropped here: they were not read in time\n"
            if not self._put_piece(told.encode()):
                self.dropped += lines.count("\n")
                return
            self._told = self.dropped
        for piece in whole_lines(lines.encode("utf-8", "backslashreplace"), select.PIPE_BUF):
            if not self._put_piece(piece):
                self.dropped += piece.count(b"\n")

    def _put_piece(self, piece: bytes) -> bool:
        """Write a piece, as far as it goes; whether all of it went."""
        data = memoryview(b"\n" + piece if self._is_cut else piece)
        while data:
            try:
                sent = self._send(data)
            except BlockingIOError:
                if not self._wait():
                    return False
                continue
            except OSError:
                return False
            self._is_cut = data[sent - 1] != ord("\n")
            data = data[sent:]
        self._patience_s = max(self._patience_s, min(BURST_S, self._patience_s + _GIVEN_BACK_S))
        return True

    def _wait(self) -> bool:
        """Wait for room while there is patience left; whether there is some."""
        began = time.monotonic()
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        ready = bool(poll.poll(self._patience_s * 1000)) if self._patience_s > 0 else False
        self._patience_s -= time.monotonic() - began
        return ready


def _sender(descriptor: int) -> tuple[Callable[[memoryview], int], Callable[[], None]]:
    """What writes to a descriptor and raises BlockingIOError instead of waiting, and what ends that."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        # Nothing waits there. Opened once more it would have a place of its own in the file, and standard output, where
        # it goes to the same file, would write over what is said here.
        return lambda data: os.write(descriptor, data), lambda: None
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT), sock.close
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        own = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        # Not ours to open (another user's terminal). Where there is room for a piece, it is taken without waiting.
        return lambda data: _write_where_there_is_room(descriptor, data), lambda: None
    return lambda data: os.write(own, data), lambda: os.close(own)


def _write_where_there_is_room(descriptor: int, data: memoryview) -> int:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def take_over_standard_error() -> StandardError | None:
    """Let ``sys.stderr`` be one of these; None where it is none of the process's own (a test's)."""
    if isinstance(sys.stderr, StandardError):
        return sys.stderr
    if sys.stderr is None or sys.__stderr__ is None or sys.stderr is not sys.__stderr__:
        return None
    sys.stderr.flush()
    found = sys.stderr = StandardError(sys.stderr.fileno())
    return found


def dropped_lines() -> int:
    """How many lines of standard error this process has dropped since the start."""
    return sys.stderr.dropped if isinstance(sys.stderr, StandardError) else 0


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
