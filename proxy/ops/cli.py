"""The command line: the table of commands, what finds the one that is asked for, and the help of all.

``run`` is the default, so ``python -m proxy --listen … --upstream …`` works as it stands. The module of each command is
imported when it is asked for and not before, so a start imports what serving needs, and no more. To add a command,
write a module of ``proxy.tools`` with ``main(argv) -> int`` and ``build_parser()``, and add it to ``COMMANDS``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import proxy
from proxy.config.flags import FLAGS
from proxy.config.host import YOUNG_IMPORTS, ExitCode, HelpfulParser, paused
from proxy.config.problems import suggestion
from proxy.errors import FlagError
from proxy.ops.journal import outcome
from proxy.values import frozen

if TYPE_CHECKING:
    from proxy.config.parsers import Parser


class CommandModule(Protocol):
    """What the module of a command offers."""

    def main(self, argv: Sequence[str], /) -> int:
        """Run the command with the words after its name; the exit code."""

    def build_parser(self) -> HelpfulParser:
        """What reads its flags, and tells its help."""


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
        with paused(YOUNG_IMPORTS):
            return self.load()


class Version:
    """``version``: which hookward this is, and what it runs on."""

    def main(self, argv: Sequence[str], /) -> int:
        """Print it in one line."""
        import platform

        from proxy.ops.process import loop_factory

        self.build_parser().parse_args(argv)
        loop = "asyncio" if loop_factory("") is None else "uvloop"
        print(f"hookward {proxy.__version__} ({platform.python_implementation()} {platform.python_version()}, {loop})")
        return ExitCode.OK

    def build_parser(self) -> Parser:
        """What reads its flags, and tells its help."""
        from proxy.config.parsers import Parser

        return Parser(prog="hookward version", description="Print the version, and what it runs on.")


def _run() -> CommandModule:
    from proxy.ops import run_command

    return run_command


def _reload() -> CommandModule:
    from proxy.ops import reload_command

    return reload_command


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
    from proxy.tools.providers import GenSecret

    return GenSecret()


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
    from proxy.tools.running import ConsoleLink

    return ConsoleLink()


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
    from proxy.tools.running import AgentList

    return AgentList()


def _enrol() -> CommandModule:
    from proxy.agent import keys

    return keys


def _completion() -> CommandModule:
    from proxy.tools.unit import COMPLETION

    return COMPLETION


def _man() -> CommandModule:
    from proxy.tools.unit import MAN

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
        "version": Command("print the version", Version),
    }
)


# -- What ``--help`` shows: one screen with the flags that most starts need, a route's first, and the commands.
#
# All flags are in ``--help-all``; a command's own are in ``hookward COMMAND --help``.

WIDTH = 80
_FLAG_WIDTH = 23

#: heading -> flag (with the form of its value) -> what it is for
COMMON: Mapping[str, Mapping[str, str]] = {
    "a route, which lets deliveries in": {
        "--path /hooks/github": "where they arrive: this path and what lies under it",
        "--provider NAME": "whose signature must be right (hookward providers)",
        "--secret-file PATH": "the file with the secret, or a variable: --secret-env",
        "--token-query NAME": "a token in the query, or --token-header NAME",
        "--token-file PATH": "the file with the token, or a variable: --token-env",
        "--allow ADDRESS": "what may send: 192.0.2.0/24, set:github, file:/path",
        "--event NAME": "take these event types, and refuse others",
        "--method NAME": "POST unless given",
        "--max-body SIZE": "the largest body: 25MiB",
    },
    "the service": {
        "--listen ADDRESS": "0.0.0.0:443, [::]:443, unix:/run/hookward.sock",
        "--upstream ADDRESS": "the application: 127.0.0.1:8000, unix:/run/app.sock",
        "--tls-cert PATH": "the certificate in PEM, with --tls-key PATH",
        "--trusted-proxy ADDRESS": "the proxy in front, whose X-Forwarded-For is read",
        "--admin ADDRESS": "answer for health and metrics there: 127.0.0.1:4040",
        "--access-log PATH": "the line of each exchange; - is standard output",
        "--workers NUMBER": "processes; auto is one for each processor",
        "--user NAME": "become this user once ports are open",
    },
}
_HEAD = """\
usage: hookward [run] [FILE] [flags]        serve, by a file or by flags
       hookward COMMAND [flags]             see hookward COMMAND --help
"""
_TAIL = """\
examples:
  hookward init github
  hookward --listen 0.0.0.0:443 --upstream 127.0.0.1:8000 --tls-cert chain.pem \\
           --tls-key key.pem --path /hooks/github --provider github \\
           --secret-file github.secret --allow set:github

All flags, with their variables: hookward --help-all. A secret's value is never
taken from the command line.
"""
#: What `hookward` alone says.
BARE = """\
hookward init     write a first configuration, with a secret, for your provider
hookward demo     see hookward at work on this machine
hookward --help   flags and commands
"""


def help_text() -> str:
    """One screen."""
    general = {
        "-c, --config FILE": "all from a file; flags beat variables beat the file",
        "-t, --check-config": "check, say what it means, and listen nowhere",
    }
    blocks = [_HEAD]
    for heading, flags in COMMON.items():
        blocks.append(_block(heading, flags if heading != "the service" else {**general, **flags}))
    blocks.append(_block("commands", {name: command.help for name, command in COMMANDS.items()}))
    return "\n".join([*blocks, _TAIL])


def full_help_text() -> str:
    """Every flag of ``run``."""
    return COMMANDS["run"].parser().format_help()


def is_bare(argv: list[str], environ: Mapping[str, str]) -> bool:
    """Whether nothing was asked for at all: neither by a word nor by a variable."""
    variables = {"HOOKWARD_CONFIG", *(flag.variable for flag in FLAGS)}
    return not argv and not any(environ.get(name) for name in variables)


def _block(heading: str, rows: Mapping[str, str]) -> str:
    width = max(map(len, rows)) if heading == "commands" else _FLAG_WIDTH
    return "\n".join([f"{heading}:", *(f"  {word:{width}}  {text}" for word, text in rows.items()), ""])


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
    if word and not _is_of_run(word):
        raise FlagError.of(repr(word[:40]), "unknown command", suggestion(word, COMMANDS, what="commands"))
    return COMMANDS["run"].main(argv)


def _is_of_run(word: str) -> bool:
    """Whether it is a flag, or the configuration, which ``run`` takes without one: no command has such a name."""
    return word.startswith("-") or word.endswith(".toml") or os.sep in word


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
