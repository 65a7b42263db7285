"""From entries of ``allow`` and ``deny`` to an ``AddressSet``: networks, addresses, ``file:/path``, ``set:NAME?query``.

A list that cannot be read, or that is empty, is a mistake: it must mean neither "everybody" nor, unnoticed, "nobody".
Where published sets come from is not known here; whoever loads the configuration hands in what resolves them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field, replace

from proxy.config.admission import EVERYBODY
from proxy.config.guarded_files import beside
from proxy.config.problems import Problems, suggestion
from proxy.config.secret_files import read_bounded
from proxy.config.settings import ListUse
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet
from proxy.errors import Mistake, Place
from proxy.values import frozen

#: ``resolve_set(name, query)``: the addresses of a published set, or None where no set has this name.
ResolveSet = Callable[[str, str], AddressSet | None]

#: A million prefixes have some 18 MiB.
_MAX_LIST_BYTES = 64 * 1024 * 1024
#: Of one list; a file of 64 MiB may have thirty million mistakes.
_MOST_TOLD = 100
_SET = re.compile(r"([A-Za-z0-9._-]{1,64})(?:\?([\x21-\x7e]{0,256}))?")


@frozen
class AllowReader:
    """Reads the lists of one load. ``uses`` are those with published sets in them."""

    resolve_set: ResolveSet
    known_sets: Sequence[str]
    missing_sets: Collection[str] = ()  # not fetched yet: they are empty, and whoever resolves them has said so
    uses: list[ListUse] = field(default_factory=list)
    files: dict[str, AddressSet] = field(default_factory=dict)  # what was read already, by path

    def read(self, view: Table, name: str) -> AddressSet | None:
        """The addresses of a key, or None where it was not written. All mistakes go into the problems."""
        entry = view.entry(name)
        if entry is None:
            return None
        fixed, published, sets = [], [], []
        for index, text in enumerate(view.items(name, str)):
            where = entry.place if len(view.items(name, str)) == 1 else entry.place.at(index)
            try:
                if text.startswith("set:"):
                    sets.append(_parse_set(text[4:]))
                    published.append(self._set(*sets[-1]))
                else:
                    fixed.append(self._one(text.strip(), entry.base, where, view.problems))
            except Mistake as mistake:
                view.problems.add_mistake(where, mistake)
        value = AddressSet.union(fixed + published)
        if sets:
            use = ListUse(AddressSet.union(fixed), tuple(sets), denies=name == "deny")
            value = use.unite(published)
            self.uses.append(replace(use, value=value))
        return value

    def read_deny(self, view: Table, above: tuple[AddressSet, ...] = ()) -> tuple[AddressSet, ...]:
        """The lists of ``deny``: those ``above``, and the one that was written here."""
        own = self.read(view, "deny")
        if own is None:
            return above
        if self.missing_sets and own == EVERYBODY:
            text = "a published list in it has no copy here yet, so every address is denied until it has been fetched"
            view.warn("H205", "deny", text)
        return (*above, own)

    def _one(self, text: str, base: str, where: Place, problems: Problems) -> AddressSet:
        if text.startswith("file:"):
            return self._file(beside(base, text[5:]), where, problems)
        if "," in text:
            what = f"{text[:80]!r} holds several addresses"
            raise Mistake(what, 'write a list, ["192.0.2.0/24", "set:github"]; give the flag once for each')
        return AddressSet.parse([text])

    def _file(self, path: str, where: Place, problems: Problems) -> AddressSet:
        if path in self.files:
            return self.files[path]
        try:
            data, _ = read_bounded(path, _MAX_LIST_BYTES)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            raise Mistake(f"{path} cannot be read: {why or 'not a path'}", "name a readable file") from None
        if len(data) > _MAX_LIST_BYTES:
            raise Mistake(f"{path} is larger than 64MiB", "name a file with one address or network a line")
        try:
            found = AddressSet.parse(filter(None, _lines(data)))
        except Mistake:
            found = _line_by_line(path, data, where, problems)
        else:
            if not found:
                what = f"{path} has no entry, so no address would be let in"
                raise Mistake(what, "add one address or network a line")
        self.files[path] = found
        return found

    def _set(self, name: str, query: str) -> AddressSet:
        try:
            found = self.resolve_set(name, query)
        except ValueError as error:
            asked = f"{name}?{query}" if query else name
            raise Mistake(f"the address set {asked!r} cannot be used", str(error)) from None
        if found is None:
            mend = suggestion(name, self.known_sets) if self.known_sets else "no address sets are known here"
            raise Mistake(f"there is no address set {name!r}", mend)
        if not found and not self.missing_sets:
            raise Mistake(f"the address set {name!r} is empty, so no address would be let in", "check its query")
        return found


def _line_by_line(path: str, data: bytes, where: Place, problems: Problems) -> AddressSet:
    """For a list with mistakes: the first of them, each with its line."""
    told = 0
    for number, line in enumerate(_lines(data), 1):
        try:
            AddressSet.parse([line] if line else [])
        except Mistake as mistake:
            problems.add(Place(path, number), f"{mistake.what} (list of {where})", mistake.mend)
            told += 1
        if told == _MOST_TOLD:
            problems.add(Place(path), f"has more mistakes than are told here (list of {where})", "mend those first")
            break
    return AddressSet.empty()


def _lines(data: bytes) -> Iterator[str]:
    """The lines of a list without comments, one after the other: all at once would take 70 MiB of a million."""
    for line in io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data):
        yield line.partition(b"#")[0].strip().decode("utf-8", "replace")


def _parse_set(text: str) -> tuple[str, str]:
    """The name and query of ``NAME`` or ``NAME?query``."""
    match = _SET.fullmatch(text.strip())
    if match is None:
        raise Mistake(f"{text[:80]!r} is not the name of an address set", 'write "set:NAME" or "set:NAME?query"')
    return match[1], match[2] or ""
