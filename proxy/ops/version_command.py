"""``version``: which hookward this is, and what it runs on."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import proxy
from proxy.config.commandline import ExitCode
from proxy.config.parsers import Parser
from proxy.ops.process import loop_factory


def main(argv: Sequence[str]) -> int:
    """Print it in one line."""
    build_parser().parse_args(argv)
    loop = "asyncio" if loop_factory("") is None else "uvloop"
    print(f"hookward {proxy.__version__} ({platform.python_implementation()} {platform.python_version()}, {loop})")
    return ExitCode.OK


def build_parser() -> Parser:
    """The parser of the command."""
    return Parser(prog="hookward version", description="Print the version, and what it runs on.")
