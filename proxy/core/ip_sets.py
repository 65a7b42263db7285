"""Published address lists: from a feed's document to prefixes with attributes, and from those to an ``AddressSet``.

A document comes from the network and opens a door, so it is taken whole or not at all: one entry that is wrong, too
wide, or not where it was, and the caller keeps what it has. Nothing is guessed. What a document looks like is said by a
:class:`Shape`, or by None: text with one prefix a line. This module fetches nothing, stores nothing and knows no clock.

Theory of shapes: which part of a JSON document holds the prefixes. The language is small on purpose. A path is keys
with dots between them; behind a key may stand ``[]`` (each item of the list) or conditions, ``[name=value]``, which
each item must meet::

    hooks[]                                   a list of texts below a key
    [].ip                                     the document itself is a list of objects
    prefixes[].ipv4Prefix, prefixes[].ipv6Prefix
    items[direction=egress].cidr              a condition on a list is met where the value is among its items
    {region}[]                                any key; its name becomes the attribute ``region``

A key that none of the objects has is an error, and so is a text where a list should be: a feed that has changed its
form must not pass for one that has lost its entries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from proxy.core.addresses import AddressSet
from proxy.errors import Mistake
from proxy.values import frozen

#: name -> values, as a sorted tuple: groups of prefixes are made by it.
Attributes = tuple[tuple[str, tuple[str, ...]], ...]

PATH_FORM = 'write a path such as "prefixes[].cidr", "hooks[]" or "items[direction=egress].cidr"'
_MAX_PATH = 512
_STEP = re.compile(
    r"(?:(?P<key>[A-Za-z0-9_-]{1,64})|\{(?P<capture>[a-z_]{1,32})\}|(?=\[))"
    r"(?P<each>\[\]|(?P<conditions>(?:\[[A-Za-z0-9_-]{1,64}=[^\[\]=,]{1,64}\])+))?"
)
_CONDITION = re.compile(r"\[([^=]+)=([^\]]+)\]")


class FeedError(ValueError):
    """A document of a feed cannot be used; the text says why, in a few words."""


@frozen
class Step:
    """One part of a path: a key, any key (``capture`` names the attribute), or neither: what stands there already."""

    key: str | None
    capture: str | None
    each: bool
    conditions: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.key or (f"{{{self.capture}}}" if self.capture else "[]")


_Node = tuple[object, "dict[str, tuple[str, ...]]"]


@frozen
class Shape:
    """Where the prefixes stand, and which keys beside them (or above) are attributes that can be asked for."""

    paths: tuple[tuple[Step, ...], ...]
    attributes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, attributes: tuple[str, ...] = ()) -> Shape:
        """The shape of one or more paths with commas between them. ValueError says what is wrong."""
        if len(text) > _MAX_PATH:
            raise ValueError("the path is too long")
        return cls(tuple(_parse_path(path.strip()) for path in text.split(",")), attributes)

    def find(self, document: object) -> dict[Attributes, list[str]]:
        """The texts in a document, by their attributes. FeedError where it does not have this shape."""
        groups: dict[Attributes, list[str]] = {}
        for path in self.paths:
            nodes: list[_Node] = [(document, {})]
            for step in path:
                nodes = self._walk(nodes, step)
            for value, inherited in nodes:
                if not isinstance(value, str):
                    raise FeedError(f"{path[-1]} is not a text where a prefix should be")
                groups.setdefault(tuple(sorted(inherited.items())), []).append(value)
        return groups

    def _walk(self, nodes: list[_Node], step: Step) -> list[_Node]:
        if step.key is not None or step.capture is not None:
            nodes = self._below(nodes, step)
        if not step.each and not step.conditions:
            return nodes
        return [found for node in nodes for found in self._items(node, step)]

    def _below(self, nodes: list[_Node], step: Step) -> list[_Node]:
        found: list[_Node] = []
        for value, inherited in nodes:
            if not isinstance(value, dict):
                raise FeedError(f"there is no object where {step} should be")
            gathered = inherited | {name: _texts(value[name]) for name in self.attributes if name in value}
            if step.capture is not None:
                found += [(inner, gathered | {step.capture: (str(name),)}) for name, inner in value.items()]
            elif step.key in value:
                found.append((value[step.key], gathered))
        if nodes and not found:
            raise FeedError(f"there is no {step} in it")
        return found

    def _items(self, node: _Node, step: Step) -> Iterator[_Node]:
        value, inherited = node
        if not isinstance(value, list):
            raise FeedError(f"{step} is not a list")
        for item in value:
            if all(_meets(item, name, wanted) for name, wanted in step.conditions):
                yield item, inherited


def _parse_path(path: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    position = 0
    while True:
        match = _STEP.match(path, position)
        if match is None or (match.end() == match.start()):
            break
        conditions = tuple(_CONDITION.findall(match["conditions"] or ""))
        steps.append(Step(match["key"], match["capture"], match["each"] == "[]", conditions))
        position = match.end()
        if position == len(path):
            return tuple(steps)
        if path[position] != "." or (steps and path[position + 1 : position + 2] == "["):
            break
        position += 1
    raise ValueError(f"{path[:80]!r} is not a path")


def _texts(value: object) -> tuple[str, ...]:
    """A single value, or each of a list, as text; what is no plain value counts for nothing."""
    values = value if isinstance(value, list) else [value]
    return tuple(str(one) for one in values if isinstance(one, str | int | float))


def _meets(item: object, name: str, wanted: str) -> bool:
    if not isinstance(item, dict):
        raise FeedError(f"there is no object where {name} is asked for")
    return wanted in _texts(item.get(name))


#: The largest feed known (AWS) has 15,000 entries.
MAX_PREFIXES = 200_000
#: No provider has more in one piece: wider is a mistake, or an attempt to be let in.
WIDEST = {4: 8, 6: 16}
#: Nor more in all: the largest cloud has 3 % of IPv4. A list in many pieces must not admit every address either.
MOST_OF_IPV4 = 1 << 30
#: A list of at least ``SHRINK_FROM`` prefixes that loses more than nine in ten is a broken feed.
SHRINK_FROM = 10
_SHOWN = 3


@frozen
class Group:
    """Prefixes, canonical and sorted, that share their attributes."""

    attributes: Attributes
    prefixes: tuple[str, ...]


@frozen
class AddressListing:
    """One published list as it stands: immutable, never empty."""

    groups: tuple[Group, ...]
    prefixes: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefixes", frozenset(p for group in self.groups for p in group.prefixes))

    def __len__(self) -> int:
        return len(self.prefixes)

    def choose(self, query: str) -> list[str]:
        """The prefixes whose attributes fit ``query`` (``service=EC2&region=us-east-1&region=eu-west-1``), sorted.

        A name that is given twice means either value; case does not matter. ValueError says what could be asked for,
        where a name or value does not occur.
        """
        wanted = parse_query(query)
        known = self._known()
        for name, values in wanted.items():
            if name not in known:
                names = ", ".join(sorted(known))
                raise ValueError(f"it cannot be asked for {name!r}" + (f": there is {names}" if names else ""))
            unknown = values - known[name]
            if unknown:
                raise ValueError(f"there is no {name} {min(unknown)!r} in it; there is {_some(sorted(known[name]))}")
        found = {prefix for group in self.groups if _fits(dict(group.attributes), wanted) for prefix in group.prefixes}
        if not found:
            raise ValueError(f"no prefix of it fits {query!r}")
        return sorted(found, key=_order)

    def select(self, query: str) -> AddressSet:
        """The addresses that fit ``query``; all of them for "". ValueError as ``choose``."""
        return AddressSet.parse(self.choose(query))

    def _known(self) -> dict[str, set[str]]:
        known: dict[str, set[str]] = {}
        for group in self.groups:
            for name, values in group.attributes:
                known.setdefault(name, set()).update(value.casefold() for value in values)
        return known


@frozen
class Difference:
    """What a new listing has that the old one had not, and the reverse."""

    added: tuple[str, ...]
    removed: tuple[str, ...]

    @classmethod
    def between(cls, old: AddressListing | None, new: AddressListing) -> Difference:
        """From ``old`` (None: nothing yet) to ``new``."""
        before = old.prefixes if old is not None else frozenset()
        added, removed = new.prefixes - before, before - new.prefixes
        return cls(tuple(sorted(added, key=_order)), tuple(sorted(removed, key=_order)))

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def __str__(self) -> str:
        return f"{_counted(self.added)} added, {_counted(self.removed)} removed"


def read_document(data: bytes, shape: Shape | None) -> AddressListing:
    """The listing in a document of a feed. FeedError, and nothing else, where any of it cannot be used."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FeedError("it is not UTF-8") from None
    if shape is None:
        return listing_of({(): _lines(text)})
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise FeedError("it is not JSON, or only a part of it") from None
    return listing_of(shape.find(value))


def listing_of(groups: Mapping[Attributes, Iterable[str]]) -> AddressListing:
    """The listing of prefixes as they were written. FeedError where one is wrong, or all together are too much."""
    found: list[Group] = []
    known: dict[str, _Prefix] = {}
    total = 0
    for attributes, texts in groups.items():
        prefixes = set()
        for text in texts:
            # A feed may have the same entry for several services.
            prefix = known[text] if text in known else known.setdefault(text, _read(text))
            prefixes.add(prefix)
        total += len(prefixes)
        if total > MAX_PREFIXES:
            raise FeedError(f"it has more than {MAX_PREFIXES} entries")
        if prefixes:
            found.append(Group(attributes, tuple(prefix.text for prefix in sorted(prefixes))))
    if not found:
        raise FeedError("it has no entry")
    _check_extent(known.values())
    return AddressListing(tuple(found))


def check_change(old: AddressListing | None, new: AddressListing) -> None:
    """FeedError where ``new`` has lost so much of ``old`` that it is more likely broken than true."""
    if old is not None and len(old) >= SHRINK_FROM and len(new) * 10 < len(old):
        raise FeedError(f"it has shrunk from {len(old)} prefixes to {len(new)}")


def parse_query(query: str) -> dict[str, set[str]]:
    """``a=x&a=y&b=z`` as name -> values, in lower case. ValueError where it has another form."""
    wanted: dict[str, set[str]] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{part!r} is not of the form name=value")
        wanted.setdefault(name.casefold(), set()).add(value.casefold())
    return wanted


def dump_groups(listing: AddressListing) -> list[dict[str, object]]:
    """The listing as plain data for JSON, for ``load_groups``."""
    return [
        {"attributes": {name: list(values) for name, values in group.attributes}, "prefixes": list(group.prefixes)}
        for group in listing.groups
    ]


def load_groups(value: object) -> AddressListing:
    """The listing that ``dump_groups`` wrote, judged as strictly as a feed. FeedError where it is none."""
    groups: dict[Attributes, list[str]] = {}
    for one in _items(value):
        attributes = one.get("attributes", {}) if isinstance(one, dict) else None
        if not isinstance(one, dict) or not isinstance(attributes, dict):
            raise FeedError("it has another form")
        key = tuple(sorted((str(name), tuple(_texts_in(values))) for name, values in attributes.items()))
        groups.setdefault(key, []).extend(_texts_in(one.get("prefixes")))
    return listing_of(groups)


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise FeedError("it has another form")
    return value


def _texts_in(value: object) -> list[str]:
    texts = [one for one in _items(value) if isinstance(one, str)]
    if len(texts) != len(_items(value)):
        raise FeedError("it has something else where a text should be")
    return texts


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        entry = line.partition("#")[0].strip()
        if entry:
            yield entry


class _Prefix(NamedTuple):
    """One network; in order of version and address."""

    version: int
    first: int
    end: int
    text: str  # its only spelling


def _check_extent(prefixes: Iterable[_Prefix]) -> None:
    covered = reached = 0
    for prefix in sorted(prefix for prefix in prefixes if prefix.version == 4):
        covered += max(0, prefix.end - max(prefix.first, reached))
        reached = max(reached, prefix.end)
    if covered > MOST_OF_IPV4:
        raise FeedError("its entries together are more than a quarter of all IPv4 addresses")


def _read(text: str) -> _Prefix:
    """One entry. FeedError where it is no network or address, or wider than any provider's."""
    entry = text.strip()
    shown = repr(entry[:80])
    if entry in {"all", "unix:"}:
        raise FeedError(f"{shown} is not an address or network")
    try:
        parsed = AddressSet.parse((entry,))
    except Mistake as mistake:
        # How to mend it is not for the reader of another's list.
        raise FeedError(mistake.what) from None
    version, bounds = (4, parsed.bounds4) if parsed.bounds4 else (6, parsed.bounds6)
    first, end = bounds
    bits = 32 if version == 4 else 128
    length = bits - (end - first).bit_length() + 1
    if length < WIDEST[version]:
        raise FeedError(f"{shown} is wider than any provider's network")
    address = IPv4Address(first) if version == 4 else IPv6Address(first)
    return _Prefix(version, first, end, str(address) if length == bits else f"{address}/{length}")


def _order(prefix: str) -> tuple[bool, int, str]:
    address = prefix.partition("/")[0]
    if ":" in address:
        return True, int(IPv6Address(address)), prefix
    return False, int(IPv4Address(address)), prefix


def _fits(attributes: Mapping[str, tuple[str, ...]], wanted: Mapping[str, set[str]]) -> bool:
    return all(any(value.casefold() in values for value in attributes.get(name, ())) for name, values in wanted.items())


def _counted(prefixes: tuple[str, ...]) -> str:
    """``3 (192.0.2.0/24, …)``: how many, and the first few."""
    if not prefixes:
        return "0"
    more = ", …" if len(prefixes) > _SHOWN else ""
    return f"{len(prefixes)} ({', '.join(prefixes[:_SHOWN])}{more})"


def _some(values: list[str]) -> str:
    more = ", …" if len(values) > 12 else ""
    return ", ".join(values[:12]) + more
