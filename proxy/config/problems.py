"""Collects every mistake of a configuration, so that all of them are told at once.

Readers raise :exc:`Mistake` for one value; whoever knows where the value stood adds it here. Nothing in this module
ever sees a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from proxy.errors import ConfigError, Problem

_LINE = re.compile(r"(.+?):([0-9]+)(?::|$)")


class Mistake(ValueError):  # noqa: N818  # a value that a person wrote, not a failure of ours
    """What is wrong with one value and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


class Problems:
    """The mistakes found so far, in the order they were found, each once."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, where: str, what: str, mend: str) -> None:
        """Note one mistake."""
        problem = Problem(where, what, mend)
        if problem not in self.found:
            self.found.append(problem)

    def add_mistake(self, where: str, mistake: Mistake) -> None:
        """Note the mistake that a reader raised."""
        self.add(where, mistake.what, mistake.mend)

    def raise_if_any(self) -> None:
        """ConfigError with everything found, if anything was."""
        if self.found:
            raise ConfigError(sorted(self.found, key=_place))


def _place(problem: Problem) -> tuple[str, int]:
    """Sorts by file and line; what has no line comes first, in the order it was found."""
    match = _LINE.match(problem.where)
    return (match[1], int(match[2])) if match else ("", 0)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that was probably meant, or None."""
    near = get_close_matches(word, known, n=1, cutoff=0.6) or get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return near[0] if near else None


def suggestion(word: str, known: Iterable[str], *, what: str = "known are") -> str:
    """``did you mean 'x'?``, or the list of all that is known where nothing is near."""
    known = list(known)
    near = nearest(word, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"{what}: {', '.join(known)}" if known else "remove it"
