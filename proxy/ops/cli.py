"""The command line: finds the command that is asked for, and runs it.

``run`` is the default, so ``python -m proxy --listen … --upstream …`` works as it stands.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from proxy.config.flags import FlagError
from proxy.errors import Problem
from proxy.ops import neighbours
from proxy.ops.commands import COMMANDS
from proxy.ops.exit_codes import ExitCode
from proxy.ops.failures import outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` unless given) and return the exit code."""
    if neighbours.mixed_in():
        print(neighbours.MESSAGE, file=sys.stderr)
        return ExitCode.CONFIG
    words = list(sys.argv[1:] if argv is None else argv)
    return outcome(lambda: _dispatch(words))


def _dispatch(argv: list[str]) -> int:
    word = argv[0] if argv else ""
    if word in COMMANDS:
        return COMMANDS[word].main(argv[1:])
    if word in {"-h", "--help", "help"}:
        print(help_text(), end="")
        return ExitCode.OK
    if word in {"-V", "--version"}:
        return COMMANDS["version"].main(())
    if word and not word.startswith("-"):
        raise FlagError([Problem(repr(word[:40]), "unknown command", _near(word))])
    return COMMANDS["run"].main(argv)


def help_text() -> str:
    """The commands, then the flags of ``run``."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    head, flags, rest = COMMANDS["run"].parser().format_help().partition("\noptions:\n")
    return f"{head}\ncommands:\n{commands}\n{flags}{rest}"


def _near(word: str) -> str:
    near = get_close_matches(word.lower(), COMMANDS, n=1)
    return f"did you mean {near[0]}?" if near else f"commands: {', '.join(COMMANDS)}"
