"""``reload``: have a running service reload, and wait for the result: ``ExecReload=`` of the printed units.

A check in a process of its own could not see the service's credentials, which systemd gives to no command of
``ExecReload=``. So the service is asked, and judges by itself; what it says of the reload comes in the words of
sd_notify(3) over a socket that only the service's user can reach.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from proxy.config.host import RELOAD_VARIABLE, ExitCode, failed
from proxy.config.parsers import Parser
from proxy.errors import FlagError
from proxy.ops.journal import REFUSED

#: systemd gives up after 90 s.
PATIENCE_S = 80.0
_MAX_MESSAGE_BYTES = 64 * 1024


def main(argv: Sequence[str]) -> int:
    """Reload the process; the exit code says how it went. Raises FlagError."""
    own = build_parser().parse_args(argv)
    path = os.environ.get(RELOAD_VARIABLE, "")
    if not path.startswith("/"):
        mend = "set it for the service too, as the units of `hookward unit` do; or send SIGHUP and look at the log"
        raise FlagError.of(RELOAD_VARIABLE, "is not set to the path of a socket", mend)
    Path(path).unlink(missing_ok=True)  # of an earlier one that was killed while waiting
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        sock.bind(path)
        try:
            return _reload(own.pid, sock)
        finally:
            Path(path).unlink(missing_ok=True)


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(
        prog="hookward reload",
        description="Have a service reload its configuration, and wait until it is in force or refused (exit code 78). "
        f"For ExecReload=; ${RELOAD_VARIABLE} is the socket on which the service reports.",
    )
    parser.add_argument("pid", metavar="PID", type=_pid, help="the main process of the service: $MAINPID")
    return parser


def _pid(text: str) -> int:
    number = int(text)
    if number <= 1:  # 0 and below are groups of processes
        raise ValueError
    return number


def _reload(pid: int, sock: socket.socket) -> int:
    deadline = time.monotonic() + PATIENCE_S
    asked_usec = time.monotonic_ns() // 1000
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return failed("reload", f"there is no process {pid}")
    except PermissionError:
        why = f"process {pid} may not be signalled: it is another user's"
        return failed("reload", why, ExitCode.NO_PERMISSION)
    ours = False
    while (left_s := deadline - time.monotonic()) > 0:
        sock.settimeout(left_s)
        try:
            said = _fields(sock.recv(_MAX_MESSAGE_BYTES))
        except TimeoutError:
            break
        if "RELOADING" in said:
            ours = int(said.get("MONOTONIC_USEC", 0)) >= asked_usec  # else it had begun before
        elif ours and "READY" in said:
            if REFUSED.partition("=")[0] in said:
                why = "refused, the old configuration stays in force: the log says why"
                return failed("reload", why, ExitCode.CONFIG)
            return ExitCode.OK
    return failed("reload", f"process {pid} has not said within {PATIENCE_S:g} s what came of it")


def _fields(message: bytes) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in message.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in pairs}
