"""``Forwarded`` (RFC 7239): the client that a trusted proxy names, as the items that ``X-Forwarded-For`` would have.

A field that is not of the RFC's form names no client: its one item is unreadable, so a walk ends before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = rb"(?:" + _TOKEN + rb"=(?:" + _TOKEN + rb'|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*"))'
_ELEMENT = re.compile(rb"[ \t]*(" + _PAIR + rb"(?:[ \t]*;[ \t]*" + _PAIR + rb")*)[ \t]*(?:,|\Z)")
_FOR = re.compile(rb'(?:\A|;)[ \t]*for=(?:"([^"]*)"|([^;"\s]*))[ \t]*(?=;|\Z)', re.IGNORECASE)
_NODE = re.compile(rb"[0-9A-Za-z._:\[\]-]{1,128}")
#: An item that no address is.
_NOBODY = b"unknown"


def forwarded_hops(values: Sequence[bytes]) -> list[bytes]:
    """The ``for`` nodes of all field lines, in order; an element without a readable one is no address."""
    hops: list[bytes] = []
    for value in values:
        hops += _hops_of(value)
    return hops


def _hops_of(value: bytes) -> list[bytes]:
    hops: list[bytes] = []
    at = 0
    while at < len(value):
        found = _ELEMENT.match(value, at)
        if found is None:
            return [_NOBODY]
        hops.append(_node(found[1]))
        at = found.end()
    return hops if hops and not value.endswith(b",") else [_NOBODY]


def _node(element: bytes) -> bytes:
    """The node of an element that is well formed. ``for`` twice, or inside another value, names no client."""
    nodes = _FOR.findall(element)
    if len(nodes) != 1 or element.lower().count(b"for=") != 1:
        return _NOBODY
    node = nodes[0][0] or nodes[0][1]
    return node if _NODE.fullmatch(node) else _NOBODY
