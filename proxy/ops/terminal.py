"""What is shown to people. Colours only on a terminal, and never where NO_COLOR asks for none (https://no-color.org)."""

from __future__ import annotations

import os
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def wants_colour(stream: TextIO | None) -> bool:
    """Whether text for ``stream`` may be coloured; None is a stream that was closed before we began."""
    return (
        stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def visible(text: str) -> str:
    """``text`` with an escape for every character that is not printed but does something: it comes from others, and
    could drive the terminal or turn the direction of what is read. Ends of lines stay.
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
        return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m"
