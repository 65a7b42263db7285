"""The lines that both ends of an agent's connection speak before HTTP, and beside it: words of ASCII, bounded.

A line is a few words with one blank between them and a newline behind. What is longer than ``MAX_LINE`` bytes or has
any other byte in it is no line. This module knows no word.
"""

from __future__ import annotations

import re

from proxy.errors import HookwardError

#: The longest line is a hello: names, an instance and a nonce.
MAX_LINE = 512
_WORDS = re.compile(rb"[!-~]+(?: [!-~]+)*")


class TalkError(HookwardError):
    """The other end broke the rules. ``word`` is fixed and ours, never a byte of the peer."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class LineBuffer:
    """Bytes in, lines out."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # what is before it was taken; many lines come at once, and are not copied for each of them

    @property
    def rest(self) -> bytes:
        """What stands behind the lines that were taken."""
        return self._data[self._at :]

    def feed(self, data: bytes) -> None:
        """More bytes of the peer."""
        self._data, self._at = self.rest + data, 0

    def take(self) -> list[str] | None:
        """The words of the next line, or None where it is incomplete. TalkError where it cannot become one."""
        at = self._at
        end = self._data.find(b"\n", at, at + MAX_LINE)
        if end < 0:
            if len(self._data) - at >= MAX_LINE:
                raise TalkError("line_too_long")
            return None
        line, self._at = self._data[at:end], end + 1
        if not _WORDS.fullmatch(line):
            raise TalkError("line_malformed")
        return line.decode("ascii").split(" ")


def line(*words: str) -> bytes:
    """The line of these words; they are ours."""
    return " ".join(words).encode("ascii") + b"\n"
