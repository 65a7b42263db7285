"""What is said on a control connection, once the hello is over: one message a line, in a table.

    PING N, PONG N        both: an answer within two intervals shows that the other end lives
    PROBE N PATH          relay: ask the application ("-": only whether it can be reached)
    PROBED N WORD         agent: "ok", or what came of it instead
    WANT N                relay: have so many connections idle for this worker
    DRAIN                 either end: I am going; open what you need elsewhere, then I close
    CERTIFICATES H…       relay: the SHA-256 of the certificates that it shows from now on

A message of the wrong side, an unknown word or a malformed one is the end of the connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NoReturn

from proxy.agent.hello import MAX_IDLE, TalkError, line, read_count
from proxy.values import frozen

#: Numbers of pings and probes.
MAX_NUMBER = 999_999_999
MAX_CERTIFICATES = 7
_HASH = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"-|/[!-~]{0,255}")
_RESULT = re.compile(r"[a-z0-9_]{1,40}")


class Word(Enum):
    """The words of messages."""

    PING = "PING"
    PONG = "PONG"
    PROBE = "PROBE"
    PROBED = "PROBED"
    WANT = "WANT"
    DRAIN = "DRAIN"
    CERTIFICATES = "CERTIFICATES"


class Side(Enum):
    """Who says it."""

    RELAY = "relay"
    AGENT = "agent"


_BOTH = frozenset(Side)
_RELAY = frozenset({Side.RELAY})
_AGENT = frozenset({Side.AGENT})

#: Who says what.
SAYS: Mapping[Word, frozenset[Side]] = MappingProxyType(
    {
        Word.PING: _BOTH,
        Word.PONG: _BOTH,
        Word.PROBE: _RELAY,
        Word.PROBED: _AGENT,
        Word.WANT: _RELAY,
        Word.DRAIN: _BOTH,
        Word.CERTIFICATES: _RELAY,
    }
)
#: What follows the word: a number up to so many (0: none), then texts of that form, from so many to so many.
_FORMS: Mapping[Word, tuple[int, re.Pattern[str], int, int]] = MappingProxyType(
    {
        Word.PING: (MAX_NUMBER, _RESULT, 0, 0),
        Word.PONG: (MAX_NUMBER, _RESULT, 0, 0),
        Word.PROBE: (MAX_NUMBER, _PATH, 1, 1),
        Word.PROBED: (MAX_NUMBER, _RESULT, 1, 1),
        Word.WANT: (MAX_IDLE, _RESULT, 0, 0),
        Word.DRAIN: (0, _RESULT, 0, 0),
        Word.CERTIFICATES: (0, _HASH, 1, MAX_CERTIFICATES),
    }
)
_WORDS = {word.value: word for word in Word}


@frozen
class Message:
    """One of them. ``number`` and ``texts`` are what its word has, else 0 and ()."""

    word: Word
    number: int = 0
    texts: tuple[str, ...] = ()

    def write(self) -> bytes:
        """Its line."""
        numbers = () if self.word in {Word.DRAIN, Word.CERTIFICATES} else (str(self.number),)
        return line(self.word.value, *numbers, *self.texts)


def read_message(words: list[str], side: Side) -> Message:
    """What ``side`` says; TalkError where it says nothing that we know."""
    word = _WORDS.get(words[0])
    if word is None or side not in SAYS[word]:
        raise TalkError("message_unknown")
    most, text, least, longest = _FORMS[word]
    rest = words[1:]
    number = 0
    if most:
        number = read_count(rest[0], most) if rest else _malformed()
        rest = rest[1:]
    if not least <= len(rest) <= longest or not all(map(text.fullmatch, rest)):
        _malformed()
    return Message(word, number, tuple(rest))


def _malformed() -> NoReturn:
    raise TalkError("message_malformed")
