"""The command line: finds the command that is asked for, and runs it.

``run`` is the default, so ``python -m proxy --listen … --upstream …`` works as it stands.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import proxy
from proxy.config.commandline import ExitCode
from proxy.config.problems import suggestion
from proxy.errors import FlagError
from proxy.ops.commands import COMMANDS
from proxy.ops.help import BARE, full_help_text, help_text, is_bare
from proxy.ops.journal import outcome

MIXED_IN = (
    'The package "proxy.py" is installed in the same environment and shares the import name "proxy" with hookward: '
    "install hookward into an environment of its own (python -m venv), or run pip uninstall proxy.py."
)
#: What an installer leaves beside the packages. (``importlib.metadata`` knows more, and is a tenth of a start.)
_PROXY_PY = re.compile(r"proxy[._-]py(?:-.*)?\.(?:dist|egg)-info", re.IGNORECASE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` unless given) and return the exit code."""
    if _proxy_py_is_mixed_in():
        print(MIXED_IN, file=sys.stderr)
        return ExitCode.CONFIG
    words = list(sys.argv[1:] if argv is None else argv)
    return outcome(lambda: _dispatch(words))


def _dispatch(argv: list[str]) -> int:
    word = argv[0] if argv else ""
    if argv in (["run", "--help"], ["run", "-h"]):
        word = "--help"
    if word in COMMANDS:
        return COMMANDS[word].main(argv[1:])
    if word in {"-h", "--help", "help", "--help-all"}:
        print(full_help_text() if word == "--help-all" else help_text(), end="")
        return ExitCode.OK
    if is_bare(argv, os.environ):
        print(BARE, end="")
        return ExitCode.USAGE
    if word in {"-V", "--version"}:
        return COMMANDS["version"].main(())
    if word and not word.startswith("-") and not _is_file(word):
        raise _unknown(word)
    return COMMANDS["run"].main(argv)


def _is_file(word: str) -> bool:
    """Whether the configuration is meant, which ``run`` takes without a flag: no command has such a name."""
    return word.endswith(".toml") or os.sep in word


def _unknown(word: str) -> FlagError:
    mend = suggestion(word, COMMANDS, what="commands")
    return FlagError.of(repr(word[:40]), "unknown command", mend)


def _proxy_py_is_mixed_in() -> bool:
    """Whether the distribution proxy.py is installed here, or the package ``proxy`` is not ours.

    proxy.py installs a package ``proxy`` too. With both in one environment, files of one lie between those of the
    other, and which of the two answers to a name is chance. A guard must not start on chance.
    """
    return getattr(proxy, "DISTRIBUTION", "") != "hookward" or any(map(_holds_proxy_py, sys.path))


def _holds_proxy_py(folder: str) -> bool:
    try:
        with os.scandir(folder or os.curdir) as entries:
            return any(_PROXY_PY.fullmatch(entry.name) for entry in entries)
    except OSError:  # nothing there, or an archive, into which nothing is installed
        return False
