"""What ``--help`` shows: one screen with the flags that most starts need, a route's first, and the commands.

All flags are in ``--help-all``; a command's own are in ``hookward COMMAND --help``.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.config.flag_names import FLAGS
from proxy.ops.commands import COMMANDS

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
