"""``agent``: dial relays, and serve what comes through them from the application here. It listens on nothing.

The flags of ``run`` say where the application is, and, where there are routes, what must hold here once more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy.config.flags import Words, take_file
from proxy.config.host import ExitCode
from proxy.config.parsers import RunParser, add_run_flags
from proxy.config.secret_files import read_reference
from proxy.config.settings import Dials
from proxy.errors import FlagError, Mistake
from proxy.ops import run_command

EXAMPLES = """\
examples:
  hookward agent --join CODE --upstream 127.0.0.1:8000    the first time
  hookward agent --upstream 127.0.0.1:8000                from then on
  hookward agent --upstream 127.0.0.1:8000 --health /healthz \\
                 --proxy proxy.corp:3128 --proxy-login file:/etc/login

CODE is the last line of what `hookward enrol NAME` prints on the relay.
"""
_MAX_CODE_BYTES = 4096


def main(argv: Sequence[str]) -> int:
    """Serve until a signal says otherwise. Raises FlagError and ConfigError for the caller to tell."""
    parser = build_parser()
    if (text := parser.asked(argv)) is not None:
        print(text, end="")
        return ExitCode.OK
    arguments, rest = parser.parse_known_args(list(argv), Words())
    take_file(arguments, rest)
    return run_command.serve(arguments, _dials(arguments))


def build_parser() -> RunParser:
    """The parser of the command."""
    parser = RunParser(
        prog="hookward agent",
        usage="hookward agent [--join CODE] [--relay HOST:PORT] [--state-dir DIR]\n"
        "                      --upstream ADDRESS [flags of run]",
        description="Dial a relay, and pass on to the application here what it has admitted.\n"
        "An agent listens on nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this")
    own = parser.add_argument_group("agent")
    add = own.add_argument
    add("--join", metavar="CODE", action="append", default=[], help='a one-time code; "-" reads it from standard input')
    add("--relay", metavar="HOST:PORT", action="append", default=[], help="the relay; left out, those that were joined")
    add("--relay-ca", metavar="PATH", help="CAs (PEM) that a relay's renewed certificate may be of")
    add("--proxy", metavar="HOST:PORT", help="an HTTP proxy through which the relay is reached, by CONNECT")
    add("--proxy-login", metavar="REFERENCE", help="its user:password, as file:PATH or env:NAME")
    add("--health", metavar="PATH", help="the application's path for health checks")
    add_run_flags(parser)
    return parser


def _dials(arguments: Words) -> Dials:
    from proxy.agent import keys

    return Dials(
        state_dir=default_state_dir(),
        relays=tuple(dict.fromkeys(keys.read_relay(text, "--relay") for text in arguments.relay)),
        join=tuple(_read_code() if text == "-" else text for text in arguments.join),
        proxy=keys.read_relay(arguments.proxy, "--proxy") if arguments.proxy else "",
        proxy_login=_login(arguments.proxy_login),
        ca_file=arguments.relay_ca,
        health=_path(arguments.health),
    )


def _read_code() -> str:
    return sys.stdin.read(_MAX_CODE_BYTES).strip().rpartition("\n")[2]


def _login(reference: str | None) -> bytes:
    if reference is None:
        return b""
    try:
        return read_reference(reference, "", os.environ).value
    except Mistake as mistake:
        raise FlagError.of("--proxy-login", mistake.what, mistake.mend) from None


def _path(text: str | None) -> str:
    if text is None:
        return ""
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise FlagError.of("--health", f"{text[:80]!r} is not the path of a URL", 'write "/healthz"')
    return text


def default_state_dir() -> str:
    """Systemd's folder for it, root's, or the user's (XDG Base Directory Specification)."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return given
    if os.geteuid() == 0:
        return "/var/lib/hookward"
    base = os.environ.get("XDG_STATE_HOME", "")
    return f"{base if base.startswith('/') else Path.home() / '.local/state'}/hookward"
