"""``console``: prints a link that lets a browser into the console of a running hookward, once."""

from __future__ import annotations

import asyncio
import sys
import webbrowser
from collections.abc import Sequence
from typing import Any

from proxy.config.host import ExitCode, failed, visible
from proxy.config.parsers import Parser
from proxy.net.private import PrivateError, ask_all
from proxy.tools.running import add_process_flags, running_process


def main(argv: Sequence[str]) -> int:
    """Print the link. 0, or 1 where the process has no console."""
    arguments = build_parser().parse_args(argv)
    running = running_process(arguments)
    scope = "read" if arguments.read else "act"
    try:
        # One worker makes it; all of them know it.
        found = asyncio.run(ask_all(running.ends()[:1], "POST", "/console/link", {"scope": scope}))
    except PrivateError as error:
        if error.status == 404:
            why = f"process {running.process} has no console: add [console] (flag: --console 127.0.0.1:4041)"
            return failed("console", why)
        return failed("console", error)
    if not found:
        return failed("console", f"process {running.process} is gone")
    links = _links(found[0])
    may = "look" if arguments.read else "look and act"
    print(f"This link lets in once, within ten minutes, to {may}:", file=sys.stderr)
    for link in links:
        print(link)
    if arguments.open and links[0].startswith("http"):
        webbrowser.open(links[0])
    return ExitCode.OK


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(
        prog="hookward console",
        description="Print a link that lets a browser into the console of a running hookward, once.",
    )
    add_process_flags(parser)
    parser.add_argument("--read", action="store_true", help="a link that may read and not act")
    parser.add_argument("--open", action="store_true", help="open it in the browser of this host")
    return parser


def _links(answer: Any) -> list[str]:
    """A link for each place that the console listens at; of a unix socket, what forwards it."""
    path = f"/enter?link={answer['token']}"
    links = []
    for place in answer["places"]:
        kind, _, name = str(place).partition("://")
        if name.startswith("unix:"):
            links.append(f"curl --unix-socket {name.removeprefix('unix:')} http://localhost/api/v1/deliveries")
        else:
            links.append(f"{kind}://{_reachable(name)}{path}")
    return [visible(link) for link in links]


def _reachable(name: str) -> str:
    """An address that a browser of this host can open."""
    host, _, port = name.rpartition(":")
    known = {"0.0.0.0": "127.0.0.1", "[::]": "localhost"}  # noqa: S104 - compared with
    return f"{known.get(host, host)}:{port}"
