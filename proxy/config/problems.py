"""Collects every mistake of a configuration, so that all of them are told at once, and what should be said besides:
warnings, which know the rule they come from, so that they can be silenced by its id.

Readers raise :exc:`Mistake` for one value; what knows the place of the value adds it here. Nothing in this module ever
sees a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Self

from proxy.errors import ConfigError, Mistake, Path, Place, Problem


class Note(str):  # noqa: SLOT000 - a text subclass with one attribute; few are made
    """A warning: a sentence like any other text, and the id of its rule in ``rules``."""

    rule: str

    def __new__(cls, rule: str, text: str) -> Self:
        """A note of the rule called ``rule``."""
        made = super().__new__(cls, text)
        made.rule = rule
        return made

    def at(self, where: str) -> Note:
        """The same with the place it speaks of before it."""
        return Note(self.rule, f"{where}: {self}")


def rule_of(warning: str) -> str:
    """The id of a warning's rule; "" for one that has none and so cannot be silenced."""
    return warning.rule if isinstance(warning, Note) else ""


def audible(warnings: Iterable[str], silenced: Collection[str]) -> tuple[str, ...]:
    """The warnings that are not silenced, each once."""
    return tuple(one for one in dict.fromkeys(warnings) if rule_of(one) not in silenced)


class Problems:
    """The mistakes and warnings of one load, in the order they were found, each once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self.warnings: list[str] = []
        #: Whether a whole source could not be read: then nothing is said to be missing.
        self.unreadable = False
        self._doubtful: set[Path] = set()

    @property
    def found(self) -> list[Problem]:
        """The mistakes so far."""
        return list(self._found)

    def add(self, place: Place, what: str, mend: str) -> None:
        """Note one mistake."""
        self._found[Problem(place, what, mend)] = None

    def add_mistake(self, place: Place, mistake: Mistake) -> None:
        """Note the mistake that a reader raised."""
        self.add(place, mistake.what, mistake.mend)

    def warn(self, rule: str, place: Place | str, text: str) -> None:
        """Note something that works and should not be left so. ``rule`` "" cannot be silenced."""
        told = f"{place}: {text}" if str(place) else text
        self.warnings.append(Note(rule, told) if rule else told)

    def forget(self, is_other: Callable[[Path], bool]) -> None:
        """Drop the mistakes at keys that are not asked for."""
        self._found = {one: None for one in self._found if isinstance(one.place, str) or not is_other(one.place.key)}

    def doubt(self, path: Path) -> None:
        """What is at ``path`` was written and not understood, a misspelt key under its right name."""
        self._doubtful.update(path[:end] for end in range(1, len(path) + 1))

    def doubts(self, path: Path) -> bool:
        """Whether something at ``path`` or below it was not understood, so that it is not said to be missing."""
        return self.unreadable or path in self._doubtful

    def raise_if_any(self) -> None:
        """ConfigError with everything found, if anything was."""
        if self._found:
            raise ConfigError(sorted(self._found, key=_order))


def _order(problem: Problem) -> tuple[str, int]:
    """Sorts by file and line; what has no line comes first, in the order it was found."""
    place = problem.place
    return ("", 0) if isinstance(place, str) or place.line is None else (place.file, place.line)


def nearest(word: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant, or None. ``cutoff``: how alike they must be, 0 to 1 for equal words."""
    return _nearest(word, known, cutoff) or _nearest(word.lower(), known, cutoff)


def _nearest(word: str, known: Sequence[str], cutoff: float) -> str | None:
    likeness, near = max(((_likeness(word, other), other) for other in known), default=(0.0, None))
    return near if likeness >= cutoff else None


def _likeness(one: str, other: str) -> float:
    """The share of the letters of both that come in both, in the same order. (``difflib`` has a measure like it, and
    would be imported at every start for a mistake that few configurations have.)
    """
    row = [0] * (len(other) + 1)  # how many are in common with the beginnings of ``other``
    for letter in one:
        diagonal = 0
        for at, same in enumerate(other, 1):
            above = row[at]
            row[at] = diagonal + 1 if letter == same else max(above, row[at - 1])
            diagonal = above
    return 2 * row[-1] / max(len(one) + len(other), 1)


def suggestion(word: str, known: Iterable[str], *, what: str = "known are", otherwise: str = "") -> str:
    """``did you mean 'x'?``; where nothing is near, ``otherwise``, or the list of all that is known."""
    known = list(known)
    near = nearest(word, known)
    if near is not None:
        return f"did you mean {near!r}?"
    if otherwise:
        return otherwise
    return f"{what}: {', '.join(known)}" if known else "remove it"
