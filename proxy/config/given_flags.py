"""The words of a command line that has flags alone: what is written right is read here, and all else by ``argparse``.

That one says what is wrong, and shows help. To import it, and to make a parser of a hundred flags, takes a twentieth
of a start, and memory that the process never needs again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from proxy.config import kinds
from proxy.config.flag_names import FLAGS
from proxy.config.flags import Words, take_file

_BY_OPTION = {flag.option: flag for flag in FLAGS}
_FILE = {"-c", "--config"}
#: A word that begins with a dash is no value, unless it is one.
_VALUE = re.compile(r"-|[^-].*", re.DOTALL)


def parse_flags(argv: Sequence[str]) -> Words:
    """What a command line without a command says. FlagError names every unknown flag, with a suggestion."""
    words = Words()
    rest: list[str] = []
    if not _read(argv, words, rest):
        from proxy.config import parsers

        words, rest = parsers.parse_known_flags(argv)
    take_file(words, rest)
    return words


def _read(argv: Sequence[str], words: Words, rest: list[str]) -> bool:
    """Whether each word is a flag that is known, its value, or neither, which goes into ``rest``."""
    left = iter(argv)
    for word in left:
        if not word.startswith("-"):
            rest.append(word)
        elif not _take(word, left, words):
            return False
    return True


def _take(word: str, left: Iterator[str], words: Words) -> bool:
    """Whether ``word`` is a flag that is known, with its value: behind a "=", or the next word that is left."""
    option, equals, text = word.partition("=")
    flag = _BY_OPTION.get(option)
    if flag is not None and flag.key.kind is kinds.BOOL:
        text = "" if equals else "true"
    elif not equals:
        text = next(left, "")
    if not _VALUE.fullmatch(text):
        return False
    if flag is not None:
        words.keep(flag, text)
    elif option in _FILE and words.config in {None, text}:
        words.config = text
    else:
        return False
    return True
