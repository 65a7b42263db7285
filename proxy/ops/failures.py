"""The one place where failures become messages and exit codes (sysexits), for the command line and for each worker."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from proxy.config.flags import FlagError
from proxy.errors import ConfigError, Problem
from proxy.net.sockets import ListenError
from proxy.ops.exit_codes import ExitCode
from proxy.ops.terminal import visible


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
        # Who reads us has seen enough ("hookward providers | head"); what is buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        return 128 + 2  # as a shell says of SIGINT
    except Exception:  # noqa: BLE001 - the last resort: a bug of ours
        traceback.print_exc()
        return ExitCode.SOFTWARE


def _fail(code: ExitCode, headline: str, problems: Sequence[Problem]) -> int:
    print(headline, file=sys.stderr)
    for problem in problems:
        print(visible(str(problem)), file=sys.stderr)
    return code
