"""The table of commands. Each names its module, which is imported when the command is asked for and not before.

So a start imports what serving needs, and no more. To add a command, write a module of this package with
``main(argv) -> int`` and ``build_parser()``, and add it to ``COMMANDS``.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, ModuleType

from proxy.values import frozen


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Collect no garbage meanwhile, and take what was made for permanent: imports make much that stays and no garbage.

    Looking at it again and again would be a tenth of the time of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@frozen
class Command:
    """One command: what it is for, in a line, and the name of its module in this package.

    Where ``of_run`` is true, it takes the flags of ``run`` besides its own.
    """

    help: str
    module: str
    of_run: bool = False

    def main(self, argv: Sequence[str]) -> int:
        """Run it with the words after its name; the exit code."""
        code: int = self._load().main(argv)
        return code

    def parser(self) -> argparse.ArgumentParser:
        """What reads its flags, and tells its help."""
        parser: argparse.ArgumentParser = self._load().build_parser()
        return parser

    def _load(self) -> ModuleType:
        with paused():
            return importlib.import_module(f"{__package__}.{self.module}")


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "run": Command("guard the application: the default, which takes the flags below", "run_command"),
        "check": Command("say what a configuration means, and listen nowhere", "checkup", of_run=True),
        "send": Command("send a test delivery, signed as a provider would sign it", "send_command"),
        "explain": Command(
            "say what every check finds in a saved delivery, and why it failed", "explain_command", of_run=True
        ),
        "gen-secret": Command("make a new secret of the right form and length", "gen_secret_command"),
        "demo": Command("show hookward at work on this machine (--once ends by itself)", "demo"),
        "ip-sets": Command("show, compare and refresh the published address lists", "ip_sets_command"),
        "providers": Command("list the senders that are known by name", "providers_command"),
        "reload": Command("have a service reload, and wait for what comes of it", "reload_command"),
        "unit": Command("print hardened systemd units for a configuration", "unit_command", of_run=True),
        "completion": Command("print the completion for bash, zsh or fish", "completions"),
        "man": Command("print a manual page", "manual"),
        "version": Command("print the version", "version_command"),
    }
)
