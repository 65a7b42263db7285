"""HTML made of values: what is given as text stays text, whatever it says.

``tag`` and ``template`` are the only ways to markup. They escape every child and every attribute that is not
``Markup``, which they alone make; so nothing that a stranger sent can become an element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import TypeAlias
from urllib.parse import urlencode

from proxy.http1 import utc_text

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
    """An element. ``class_`` stands for ``class``, ``data_x`` for ``data-x``; True has no value, None is left out."""
    opened = f"<{element}{_attributes(attributes)}>"
    if element in _VOID:
        return Markup(opened)
    return Markup(f"{opened}{''.join(_text(children))}</{element}>")


def _attributes(attributes: Mapping[str, str | float | None]) -> Markup:
    written = []
    for key, value in attributes.items():
        label = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {label}")
        elif value is not None and value is not False:
            written.append(f' {label}="{escape(str(value))}"')
    return Markup("".join(written))


def template(name: str) -> Callable[..., Markup]:
    """What makes a page, or a part of one, as it lies in the package, of what comes into its places. To be read with
    the module that uses it.
    """
    form = Template(files("proxy.console").joinpath(name).read_text("utf-8"))
    return lambda **places: Markup(form.substitute({at: "".join(_text(child)) for at, child in places.items()}))


def row(*cells: Child, last: Markup | None = None) -> Markup:
    """A row of a table; ``last`` is a cell that is made already."""
    return tag("tr", (tag("td", cell) for cell in cells), last)


def button(*label: Child, **attributes: str | float | None) -> Markup:
    """A button, which the script gives its meaning."""
    return tag("button", *label, type="button", **attributes)


def part(title: Child, *content: Child, **attributes: str | float | None) -> Markup:
    """A part of a page under a heading."""
    return tag("section", tag("h2", title), *content, **attributes)


def link(label: str, place: str, query: dict[str, str], **attributes: str) -> Markup:
    """A way to a page that is asked for something."""
    return tag("a", label, href=f"{place}?{urlencode(query)}", **attributes)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names, and what is told of each."""
    return tag("dl", ((tag("dt", name), tag("dd", told)) for name, told in pairs), class_="facts")


# -- Instants and counts as people read them; sizes and durations are said by ``config.notation``.


def clock(at: float) -> str:
    """The time of day in UTC, to a millisecond."""
    return utc_text(at, "%H:%M:%S.%f")[:-3]


def day(at: float) -> str:
    """The date and time in UTC."""
    return utc_text(at, "%Y-%m-%d %H:%M:%S UTC")


def counted(number: int, one: str, many: str) -> str:
    """``1 delivery``, ``2 deliveries``."""
    return f"{number:,} {one if number == 1 else many}"


# -- What all pages have in common: the head, the ways to the others, and the help of the keys.

PLACES = (("/", "Deliveries"), ("/routes", "Routes"), ("/queue", "Queue"), ("/state", "State"))
_PAGE = template("page.html")


def page(title: str, here: str, *content: Child, may_act: bool = False, **data: str | None) -> Markup:
    """A whole page. ``here`` is the place in the ways to the others; ``data`` is for the script."""
    ways = (tag("a", name, href=place, aria_current="page" if place == here else None) for place, name in PLACES)
    told = {"data_act": "yes" if may_act else "no", **{f"data_{name}": value for name, value in data.items()}}
    return _PAGE(title=title, ways=ways, content=content, data=_attributes(told))


def problem(what: str, mend: str = "") -> Markup:
    """What is wrong, and what mends it."""
    return tag("p", what, f": {mend}" if mend else "", class_="problem", role="alert")


def table(caption: str, heads: tuple[str, ...], rows: Child) -> Markup:
    """A table that scrolls by itself where it is wider than the page."""
    head = tag("thead", tag("tr", (tag("th", one, scope="col") for one in heads)))
    made = tag("table", tag("caption", caption), head, tag("tbody", rows))
    return tag("div", made, class_="wide", tabindex=0, role="region", aria_label=caption)
