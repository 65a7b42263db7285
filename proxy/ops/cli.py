"""The command line: one table of commands.

``run`` is the default, so ``python -m proxy --listen … --upstream …`` works as it stands. To add a command, write a
module with ``main(argv) -> int`` and add it to ``COMMANDS``.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import proxy
from proxy.config.flags import FlagError
from proxy.errors import Problem
from proxy.ops import (
    checkup,
    completions,
    demo,
    explain_command,
    gen_secret_command,
    ip_sets_command,
    manual,
    neighbours,
    providers_command,
    reload_command,
    run_command,
    send_command,
    unit_command,
)
from proxy.ops.exit_codes import ExitCode
from proxy.ops.failures import outcome
from proxy.ops.grammar import Command


def version(_argv: Sequence[str]) -> int:
    """Print the version, and what it runs on."""
    loop = "uvloop" if run_command.loop_factory("") else "asyncio"
    print(f"hookward {proxy.__version__} ({platform.python_implementation()} {platform.python_version()}, {loop})")
    return ExitCode.OK


def complete(argv: Sequence[str]) -> int:
    """Print the completion of these commands for a shell."""
    return completions.run(argv, COMMANDS)


def describe(argv: Sequence[str]) -> int:
    """Print the manual of these commands."""
    return manual.run(argv, COMMANDS)


COMMANDS: Mapping[str, Command] = {
    "run": Command(
        "guard the application: the default, which takes the flags below", run_command.main, run_command.run_parser
    ),
    "check": Command(
        "say what a configuration means, and listen nowhere", checkup.main, checkup.build_parser, of_run=True
    ),
    "send": Command(
        "send a test delivery, signed as a provider would sign it", send_command.main, send_command.build_parser
    ),
    "explain": Command(
        "say what every check finds in a saved delivery, and why it failed",
        explain_command.main,
        explain_command.build_parser,
        of_run=True,
    ),
    "gen-secret": Command(
        "make a new secret of the right form and length", gen_secret_command.main, gen_secret_command.build_parser
    ),
    "demo": Command("show hookward at work on this machine (--once ends by itself)", demo.main, demo.build_parser),
    "ip-sets": Command(
        "show, compare and refresh the published address lists", ip_sets_command.main, ip_sets_command.build_parser
    ),
    "providers": Command(
        "list the senders that are known by name", providers_command.main, providers_command.build_parser
    ),
    "reload": Command(
        "have a service reload, and wait for what comes of it", reload_command.main, reload_command.build_parser
    ),
    "unit": Command(
        "print hardened systemd units for a configuration", unit_command.main, unit_command.build_parser, of_run=True
    ),
    "completion": Command("print the completion for bash, zsh or fish", complete, completions.build_parser),
    "man": Command("print a manual page", describe, manual.build_parser),
    "version": Command("print the version", version),
}


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
        return version(())
    if word and not word.startswith("-"):
        raise FlagError([Problem(repr(word[:40]), "unknown command", _near(word))])
    return run_command.main(argv)


def help_text() -> str:
    """The commands, then the flags of ``run``."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    head, flags, rest = run_command.run_parser().format_help().partition("\noptions:\n")
    return f"{head}\ncommands:\n{commands}\n{flags}{rest}"


def _near(word: str) -> str:
    near = get_close_matches(word.lower(), COMMANDS, n=1)
    return f"did you mean {near[0]}?" if near else f"commands: {', '.join(COMMANDS)}"
