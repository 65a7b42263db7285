"""What the process says about itself, on standard error: start, reload, drain, trouble. Exchanges have their own log.

One line per message, printable ASCII and what a configuration says; a traceback only for bugs of ours. It is also the
one place where failures become messages and exit codes, for the command line and for each worker.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TextIO

from proxy.config.commandline import ExitCode, visible
from proxy.config.host import how_to_install
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
