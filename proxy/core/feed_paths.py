r"""Which part of a JSON document holds the prefixes: ``prefixes[].cidr``.

The language is small on purpose. A path is keys with dots between them; behind a key may stand ``[]`` (each item of
the list) or conditions, ``[name=value]``, which each item must meet::

    hooks[]                                   a list of texts below a key
    [].ip                                     the document itself is a list of objects
    prefixes[].ipv4Prefix, prefixes[].ipv6Prefix
    items[direction=egress].cidr              a condition on a list is met where the value is among its items
    {region}[]                                any key; its name becomes the attribute ``region``

A key that none of the objects has is an error, and so is a text where a list should be: a feed that has changed its
form must not pass for one that has lost its entries. This module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

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
            gathered = inherited | _gather(value, self.attributes)
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


def _gather(value: Mapping[str, object], names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {name: _texts(value[name]) for name in names if name in value}


def _texts(value: object) -> tuple[str, ...]:
    """A single value, or each of a list, as text; what is no plain value counts for nothing."""
    values = value if isinstance(value, list) else [value]
    return tuple(str(one) for one in values if isinstance(one, str | int | float))


def _meets(item: object, name: str, wanted: str) -> bool:
    if not isinstance(item, dict):
        raise FeedError(f"there is no object where {name} is asked for")
    return wanted in _texts(item.get(name))
