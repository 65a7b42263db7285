"""HTML made of values: what is given as text stays text, whatever it says.

``tag`` is the only way to markup. It escapes every child and every attribute that is not ``Markup``, which only itself
makes; so nothing that a stranger sent can become an element.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_VOID = frozenset({"br", "input", "link", "meta"})


class Markup(str):
    """HTML that is whole in itself."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def _text(child: Child) -> Iterable[str]:
    if child is None:
        return
    if isinstance(child, Markup):
        yield child
    elif isinstance(child, (str, int, float)):
        yield escape(str(child))
    else:
        for one in child:
            yield from _text(one)


def tag(element: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. ``class_`` is written for ``class``, ``data_x`` for ``data-x``; True is an attribute without a value,
    and None and False are none.
    """
    written = [element]
    for key, value in attributes.items():
        label = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(label)
        elif value is not None and value is not False:
            written.append(f'{label}="{escape(str(value))}"')
    opened = f"<{' '.join(written)}>"
    if element in _VOID:
        return Markup(opened)
    return Markup(f"{opened}{''.join(_text(children))}</{element}>")
