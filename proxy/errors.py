"""The exceptions of the house. There are three kinds of failure, never mixed.

A refused request is a *value* (``core.exchange.Reject``), no exception. The exceptions are:

* :exc:`Mistake`: one value that a person wrote cannot be used; a reader raises it and knows no place
* :exc:`HookwardError`, the root
  * :exc:`ProtocolError`: a peer (sender or upstream) broke the rules of its protocol
  * :exc:`ConfigError`: the configuration cannot be used; carries every :class:`Problem` found
  * :exc:`FlagError`: the command line cannot be used; likewise

Anything else that is raised is a bug. No exception here ever carries a body, secret, token or full signature.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from proxy.reasons import Reason
from proxy.values import frozen


class HookwardError(Exception):
    """The root of our exceptions."""


class ProtocolError(HookwardError):
    """A peer broke the rules; caught once in the shell, which answers ``reason.status`` and closes.

    ``detail`` is a fixed word for the log (``cl_te``, ``bare_lf``, …): never bytes of the peer.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.word}: {detail}")
        self.reason = reason
        self.detail = detail


class Mistake(ValueError):  # noqa: N818  # a value that a person wrote, not a failure of ours
    """What is wrong with one value and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}: {mend}")
        self.what = what
        self.mend = mend


#: The way to a key: names of keys and tables, and the numbers of tables in a list.
Path = tuple[str | int, ...]


@frozen
class Place:
    """Where something was written: ``hookward.toml:12: route.github.path``. A flag, a variable or what no file holds
    has no ``file`` and stands in ``key`` by its name.
    """

    file: str = ""
    line: int | None = None
    key: Path = ()

    @classmethod
    def of(cls, name: str) -> Place:
        """The place of a flag or a variable."""
        return cls(key=(name,))

    def at(self, part: str | int) -> Place:
        """The place of one key or item below."""
        return Place(self.file, self.line, (*self.key, part))

    def __str__(self) -> str:
        file = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (file, dotted(self.key)) if part)


def dotted(path: Path) -> str:
    """A path as people write it: ``route.github.secrets[1].from``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_quoted(part)}" for part in path).removeprefix(".")


def _quoted(part: str) -> str:
    """A key as TOML has it. In quotes where it has a dot: route ``a`` and route ``"a.b"`` are two."""
    return f'"{part}"' if "." in part else part


@frozen
class Problem:
    """One mistake in the configuration: where it is, what is wrong, and how to mend it."""

    place: Place | str  # a text names what is in no file: a flag, a variable, a key
    what: str
    mend: str

    @property
    def where(self) -> str:
        """The place as it is shown."""
        return str(self.place)

    def __str__(self) -> str:
        return f"{self.place}: {self.what}\n    {self.mend}"


class _ProblemsError(HookwardError):
    """What cannot be used, with all that is wrong with it at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def of(cls, place: Place | str, what: str, mend: str) -> Self:
        """The error of one problem."""
        return cls([Problem(place, what, mend)])


class ConfigError(_ProblemsError):
    """The configuration cannot be used."""


class FlagError(_ProblemsError):
    """The command line cannot be used: exit status 64."""
