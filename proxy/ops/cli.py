"""The command line: finds the command that is asked for, and runs it.

``run`` is the default, so ``python -m proxy --listen … --upstream …`` works as it stands.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence

import proxy
from proxy.config.commandline import ExitCode
from proxy.config.flag_names import FLAGS
from proxy.config.problems import suggestion
from proxy.errors import FlagError
from proxy.ops.commands import COMMANDS
from proxy.ops.journal import outcome

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
