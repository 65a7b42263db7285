"""The table of commands. The module of each is imported when the command is asked for and not before.

So a start imports what serving needs, and no more: the tools are never imported by what serves. To add a command, write
a module of ``proxy.tools`` with ``main(argv) -> int`` and ``build_parser()``, and add it to ``COMMANDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from proxy.config.commandline import HelpfulParser
from proxy.config.host import paused
from proxy.values import frozen


class CommandModule(Protocol):
    """What the module of a command offers."""

    def main(self, argv: Sequence[str], /) -> int:
        """Run the command with the words after its name; the exit code."""
        ...

    def build_parser(self) -> HelpfulParser:
        """What reads its flags, and tells its help."""
        ...


@frozen
class Command:
    """One command: what it is for, in a line, and what imports its module.

    Where ``of_run`` is true, it takes the flags of ``run`` besides its own.
    """

    help: str
    load: Callable[[], CommandModule]
    of_run: bool = False

    def main(self, argv: Sequence[str]) -> int:
        """Run it with the words after its name; the exit code."""
        return self._module().main(argv)

    def parser(self) -> HelpfulParser:
        """What reads its flags, and tells its help."""
        return self._module().build_parser()

    def _module(self) -> CommandModule:
        with paused():
            return self.load()


def _run() -> CommandModule:
    from proxy.ops import run_command

    return run_command


def _reload() -> CommandModule:
    from proxy.ops import reload_command

    return reload_command


def _version() -> CommandModule:
    from proxy.ops import version_command

    return version_command


def _check() -> CommandModule:
    from proxy.tools import check

    return check


def _send() -> CommandModule:
    from proxy.tools import send

    return send


def _explain() -> CommandModule:
    from proxy.tools import explain

    return explain


def _init() -> CommandModule:
    from proxy.tools import init

    return init


def _gen_secret() -> CommandModule:
    from proxy.tools import gen_secret

    return gen_secret


def _demo() -> CommandModule:
    from proxy.tools import demo

    return demo


def _ip_sets() -> CommandModule:
    from proxy.tools import ip_sets

    return ip_sets


def _providers() -> CommandModule:
    from proxy.tools import providers

    return providers


def _queue() -> CommandModule:
    from proxy.queue import command

    return command


def _unit() -> CommandModule:
    from proxy.tools import unit

    return unit


def _console() -> CommandModule:
    from proxy.tools import console

    return console


def _tail() -> CommandModule:
    from proxy.tools import tail

    return tail


def _top() -> CommandModule:
    from proxy.tools import top

    return top


def _agent() -> CommandModule:
    from proxy.ops import agent_command

    return agent_command


def _agents() -> CommandModule:
    from proxy.tools import agents

    return agents


def _enrol() -> CommandModule:
    from proxy.agent import enrol_command

    return enrol_command


def _completion() -> CommandModule:
    from proxy.tools.pages import COMPLETION

    return COMPLETION


def _man() -> CommandModule:
    from proxy.tools.pages import MAN

    return MAN


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "run": Command("guard the application: the default, which takes the flags above", _run),
        "init": Command("write a first configuration, with a secret, for your provider", _init),
        "check": Command("say what a configuration means, and listen nowhere", _check, of_run=True),
        "send": Command("send a test delivery, signed as a provider would sign it", _send),
        "explain": Command("say what every check finds in a saved delivery, and why it failed", _explain, of_run=True),
        "gen-secret": Command("make a new secret of the right form and length", _gen_secret),
        "demo": Command("show hookward at work on this machine", _demo),
        "ip-sets": Command("show, compare and refresh the published address lists", _ip_sets),
        "providers": Command("list the senders that are known by name", _providers),
        "queue": Command("show, replay and drop what is kept, pause and resume routes", _queue),
        "console": Command("print a link that lets a browser into the console, once", _console),
        "tail": Command("print what comes, as it comes, by search words", _tail),
        "top": Command("show the routes live: rates, refusals, times", _top),
        "agent": Command("dial a relay from beside an application, and listen on nothing", _agent, of_run=True),
        "agents": Command("say which agents are connected to the relay that runs here", _agents),
        "enrol": Command("open a one-time code by which an agent joins this relay", _enrol),
        "reload": Command("have a service reload, and wait for what comes of it", _reload),
        "unit": Command("print hardened systemd units for a configuration", _unit, of_run=True),
        "completion": Command("print the completion for bash, zsh or fish", _completion),
        "man": Command("print a manual page", _man),
        "version": Command("print the version", _version),
    }
)
