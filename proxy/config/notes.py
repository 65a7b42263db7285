"""Warnings that know the rule they come from, so that they can be silenced by its id."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Self


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
