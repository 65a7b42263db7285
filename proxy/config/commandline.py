"""What every command shares: exit codes, what tells help, and colours.

Colours only on a terminal, and never where NO_COLOR asks for none (https://no-color.org).
"""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import Protocol, TextIO

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class ExitCode(IntEnum):
    """How the process ended: the codes of sysexits(3) that an operator's script can tell apart."""

    OK = 0
    FAILED = 1  # a command did its work, and the result is not what was promised
    USAGE = 64  # bad flags
    UNAVAILABLE = 69  # an address is in use
    SOFTWARE = 70  # a bug of ours
    NO_PERMISSION = 77
    CONFIG = 78  # bad configuration


def failed(command: str, why: object, code: ExitCode = ExitCode.FAILED) -> int:
    """Say on standard error why a command could not do what it should; its exit code."""
    print(f"hookward {command}: {visible(str(why))}", file=sys.stderr)
    return code


class HelpfulParser(Protocol):
    """What reads the flags of a command: one of ``argparse``'s, which not every start imports."""

    description: str | None
    epilog: str | None

    def format_help(self) -> str:
        """The text of ``--help``."""
        ...


def wants_colour(stream: TextIO | None) -> bool:
    """Whether text for ``stream`` may be coloured; None is a stream that was closed before we began."""
    return (
        stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def visible(text: str) -> str:
    """``text`` with an escape for every character that is not printed but does something: it comes from others, and
    could drive the terminal or reverse the direction of reading. Line ends stay.
    """
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


class Paint:
    """Colours text, or leaves it as it is."""

    def __init__(self, *, colour: bool) -> None:
        self.colour = colour

    @classmethod
    def on(cls, stream: TextIO | None) -> Paint:
        """Colours where the stream wants them."""
        return cls(colour=wants_colour(stream))

    def __call__(self, text: str, *styles: str) -> str:
        """``text`` in the styles (bold, dim, red, green, yellow, cyan)."""
        if not self.colour or not text:
            return text
        return f"\033[{';'.join(_STYLES[style] for style in styles)}m{text}\033[0m"
