"""The table of commands. Each names its module, which is imported when the command is asked for and not before.

So a start imports what serving needs, and no more. To add a command, write a module of ``proxy.tools`` with
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
    """One command: what it is for, in a line, and the name of its module.

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
            return importlib.import_module(self.module)


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "run": Command("guard the application: the default, which takes the flags below", "proxy.ops.run_command"),
        "check": Command("say what a configuration means, and listen nowhere", "proxy.tools.check", of_run=True),
        "send": Command("send a test delivery, signed as a provider would sign it", "proxy.tools.send"),
        "explain": Command(
            "say what every check finds in a saved delivery, and why it failed", "proxy.tools.explain", of_run=True
        ),
        "gen-secret": Command("make a new secret of the right form and length", "proxy.tools.gen_secret"),
        "demo": Command("show hookward at work on this machine (--once ends by itself)", "proxy.tools.demo"),
        "ip-sets": Command("show, compare and refresh the published address lists", "proxy.tools.ip_sets"),
        "providers": Command("list the senders that are known by name", "proxy.tools.providers"),
        "reload": Command("have a service reload, and wait for what comes of it", "proxy.ops.reload_command"),
        "unit": Command("print hardened systemd units for a configuration", "proxy.tools.unit", of_run=True),
        "completion": Command("print the completion for bash, zsh or fish", "proxy.ops.completions"),
        "man": Command("print a manual page", "proxy.ops.manual"),
        "version": Command("print the version", "proxy.ops.version_command"),
    }
)
