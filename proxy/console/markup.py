"""What the pages show, as HTML made of values: the deliveries, the queue, the routes with their last hour, and the
state of the process. What is given as text stays text, whatever it says.

``tag`` and ``template`` are the only ways to markup. They escape every child and every attribute that is not
``Markup``, which they alone make; so nothing that a stranger sent can become an element.

The script adds deliveries as they come, of rows that are worded here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, TypeAlias
from urllib.parse import urlencode

from proxy.config.notation import about_size, about_time, took
from proxy.console.history import GOOD_WORDS, POINTS, STEP_S
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


Found = Mapping[str, Any]

_EXAMPLES = 'route:github verdict:refused status:5xx >2s "text"'

# -- What the deliveries and the queue have in common: a filter, which stands in the address of the page.


def mistaken(title: str, here: str, query: str, what: str, mend: str) -> Markup:
    """The page of a query that cannot be read."""
    return page(title, here, tag("h1", title), search(query, here), problem(what, mend))


def search(query: str, action: str) -> Markup:
    """The filter."""
    hints = {"placeholder": _EXAMPLES, "autocomplete": "off", "spellcheck": "false"}
    field = tag("input", id="q", name="q", type="search", value=query, **hints)
    label = tag("label", "Filter ", tag("kbd", "/"), for_="q")
    return tag("form", label, field, tag("button", "Find"), role="search", action=action, class_="search")


# -- The deliveries, the newest first.


def deliveries_page(found: Found, query: str, seen: str, *, may_act: bool) -> Markup:
    """The list. ``seen`` is where the stream goes on from."""
    rows = [_delivery(one) for one in found["deliveries"]]
    more = found["next"]
    nothing = "No delivery matches yet." if query else "No delivery yet: send one, and it appears here."
    return page(
        "Deliveries",
        "/",
        tag("h1", "Deliveries"),
        search(query, "/"),
        tag("p", _counts(found["counts"]), id="counts"),
        tag("p", nothing, id="nothing", hidden=bool(rows)),
        tag("ol", rows, id="list", aria_label="Deliveries, the newest first"),
        tag("p", link("Older", "/", {"q": query, "after": more}, id="older") if more else None),
        may_act=may_act,
        page="list",
        query=query,
        seen=seen,
    )


def shown(one: Found) -> dict[str, object]:
    """What a row shows of one delivery, for the page and for the script that adds what comes."""
    verdict = one["verdict"] or "ended"
    return {
        "id": one["id"],
        "href": f"/deliveries/{one['id']}",
        "verdict": verdict,
        "time": clock(one["time"]),
        "title": day(one["time"]),
        "cells": [
            ("verdict", verdict),
            ("status", str(one["status"] or "-")),
            ("route", (one["route"] or "-") + (f" via {one['agent']}" if one["agent"] else "")),
            ("event", one["event"] or "-"),
            ("path", f"{one['method']} {one['path']}"),
            ("reason", one["reason"].replace("_", " ")),
            ("client", one["client"]),
            ("took", took(one["duration_s"])),
        ],
    }


@lru_cache(maxsize=1024)
def shown_line(summary: str) -> str:
    """The same as JSON, of a summary in JSON: made once for all that look on."""
    return json.dumps(shown(json.loads(summary)))


def _delivery(one: Found) -> Markup:
    of: Found = shown(one)
    spans = ((" ", tag("span", text, class_=name)) for name, text in of["cells"])
    made = tag("a", tag("time", of["time"], title=of["title"]), spans, href=of["href"], class_=of["verdict"])
    return tag("li", made, data_id=of["id"])


def _counts(counts: Found) -> str:
    lost = counts["skipped"] + counts["dropped_for_age"] + counts["dropped_for_address"]
    gone = f", {lost:,} not kept" if lost else ""
    return f"{counted(counts['kept'], 'delivery', 'deliveries')} kept of {counts['seen']:,} seen{gone}. Times are UTC."


# -- The queue: how much waits for each route, and each delivery that waits or has died, with its attempts.


def queue_page(found: Found, query: str, *, may_act: bool) -> Markup:
    """The queue."""
    if not found["configured"]:
        content = [tag("p", "No route keeps deliveries: write ", tag("code", 'deliver = "queue"'), " in one.")]
    else:
        routes = table("Routes", ("route", "waiting", "dead", "oldest", "size", ""), map(_lane, found["routes"]))
        content = [routes, search(query, "/queue"), *_records(found, query, may_act=may_act)]
    return page("Queue", "/queue", tag("h1", "Queue"), content, may_act=may_act, page="queue")


def _lane(lane: Found) -> Markup:
    held = about_time(lane["oldest_s"]), about_size(lane["bytes"])
    return row(lane["route"], lane["waiting"], lane["dead"], *held, "paused" if lane["paused"] else "")


def _records(found: Found, query: str, *, may_act: bool) -> list[Markup]:
    if not found["records"]:
        return [tag("p", "Nothing waits.")]
    heads = ("delivery", "route", "event", "condition", "accepted", "attempts", "last", "")
    rows = (_record(one, may_act=may_act) for one in found["records"])
    more = link("More", "/queue", {"q": query, "after": found["next"]}) if found["next"] else None
    return [table("Deliveries", heads, rows), tag("p", more)]


def _record(one: Found, *, may_act: bool) -> Markup:
    last = one["attempts"][-1] if one["attempts"] else None
    said = "" if last is None else f"{last['status'] or ''} {last['reason']} {last['detail']}".strip()
    buttons = (
        (button(word.capitalize(), data_queue=one["id"], data_act=word, disabled=not may_act), " ")
        for word in ("replay", "drop")
    )
    told = one["id"], one["route"], one.get("event", ""), one["condition"], one["accepted"], one["attempts_made"]
    return row(*told, said, last=tag("td", buttons, class_="acts", hidden=True))


# -- The routes: what went through each in the last hour, and why the rest was refused.


def routes_page(found: Found, now: float, *, may_act: bool) -> Markup:
    """The routes."""
    routes = [_route(route, now, may_act=may_act) for route in found["routes"]]
    others = [
        part(name or "no route", _figures(one["hour"], name), _plots(one["points"], now))
        for name, one in found["others"].items()
    ]
    title = tag("h1", "Routes, in the last hour")
    return page("Routes", "/routes", title, routes, others, may_act=may_act, page="routes")


def _route(route: Found, now: float, *, may_act: bool) -> Markup:
    name = route["name"]
    methods = " ".join(route["methods"])
    guard = route["provider"] or (f"token ({route['token']['kind']})" if "token" in route else "no proof")
    upstreams = ", ".join(one["url"] + ("" if one["well"] is not False else " (unwell)") for one in route["upstream"])
    word = "resume" if route["paused"] else "pause"
    pause = button(word.capitalize(), data_route=name, data_act=word, disabled=not may_act)
    return part(
        link(name, "/", {"q": f"route:{name}"}),
        tag("p", f"{methods} {route['path']}", "" if route["exact"] else " and below", f", {guard}, to {upstreams}"),
        tag("p", tag("strong", "paused: what comes is kept"), class_="cause") if route["paused"] else None,
        _figures(route["hour"], name),
        _plots(route["points"], now),
        tag("p", pause, class_="acts", hidden=True) if route["pausable"] else None,
    )


def _figures(hour: Found | None, name: str) -> list[Markup]:
    if hour is None or not hour["requests"]:
        return [tag("p", "No requests.")]
    times = f"p50 {took(hour['p50_s'])}, p99 {took(hour['p99_s'])}"
    text = f"{hour['requests']:,} requests, {hour['refused']:,} refused; {times}."
    route = f"route:{name} " if name else ""
    causes = [
        tag("li", link(word, "/", {"q": f"{route}reason:{word}"}), f" {number:,}")
        for word, number in hour["reasons"].items()
        if word not in GOOD_WORDS
    ]
    return [tag("p", text), tag("ul", causes, class_="causes")] if causes else [tag("p", text)]


# -- Plots of the last hour, a step for each minute, as SVG: bars of requests and lines of durations.

_WIDTH, _HEIGHT = 5, 48
_TOP = 44  # of the highest, so that a line is not cut


def _plots(points: list[Found], now: float) -> Markup:
    """The two plots, each with its words."""
    plots = (
        (requests(points, now), "requests, and what was refused of them"),
        (durations(points, now), "p50 and p99"),
    )
    return tag("div", (tag("figure", plot, tag("figcaption", text)) for plot, text in plots), class_="plots")


def requests(points: Iterable[Found], now: float) -> Markup:
    """Requests a minute, and in each bar what was refused."""
    by_step = _by_step(points, now)
    most = max((point["requests"] for point in by_step.values()), default=0)
    bars = []
    for step, point in by_step.items():
        for name, count in (("all", point["requests"]), ("refused", point["refused"])):
            if count:
                height = max(_TOP * count / most, 1.0)
                x, y, tall = step * _WIDTH, f"{_HEIGHT - height:.1f}", f"{height:.1f}"
                bars.append(tag("rect", x=x, y=y, width=_WIDTH - 1, height=tall, class_=name))
    return _plot(bars, f"requests a minute, at most {most}")


def durations(points: Iterable[Found], now: float) -> Markup:
    """The times that a half and 99 % of the requests stayed under."""
    by_step = _by_step(points, now)
    most = max((point["p99_s"] or 0.0 for point in by_step.values()), default=0.0)
    lines = []
    for name in ("p99_s", "p50_s"):
        found = [(step, point[name]) for step, point in by_step.items() if point[name] is not None]
        if found and most:
            at = [(step * _WIDTH + 2, f"{_HEIGHT - _TOP * value / most:.1f}") for step, value in found]
            joined = " ".join(f"{x},{y}" for x, y in at)
            lines.append(tag("polyline", points=joined, class_=name.removesuffix("_s")))
            # A line of one point would not be seen.
            lines.append(tag("circle", cx=at[-1][0], cy=at[-1][1], r=2, class_="last"))
    return _plot(lines, f"durations, p99 at most {took(most)}")


def _by_step(points: Iterable[Found], now: float) -> dict[int, Found]:
    """The points of the last hour by their place in it, the last one being the minute that is under way."""
    first = int(now) // STEP_S - POINTS + 1
    placed = ((int(point["time"]) // STEP_S - first, point) for point in points)
    return {place: point for place, point in placed if 0 <= place < POINTS}


def _plot(marks: list[Markup], said: str) -> Markup:
    box = f"0 0 {POINTS * _WIDTH} {_HEIGHT}"
    return tag("svg", marks, viewBox=box, role="img", aria_label=said, class_="plot", preserveAspectRatio="none")


# -- The state of the process: listeners, secrets, certificates, address sets, and what there is to warn of.


def state_page(found: Found, now: float, *, may_act: bool) -> Markup:
    """The state."""
    said, console, seen = found["configuration"], found["console"], found["console"]["seen"]
    told = (
        ("hookward", f"{found['version']}, Python {found['python']}"),
        ("configuration", f"{said['path'] or 'flags'}, generation {found['generation']}"),
        ("listens on", ", ".join(said["listen"])),
        ("ready", "yes" if not found["not_ready"] else "; ".join(found["not_ready"])),
        ("workers", ", ".join(f"{int(number)} {state}" for state, number in found["workers"].items() if number)),
        ("kept here", f"{console['kept']:,} deliveries in {about_size(console['bytes'])}, {seen:,} seen"),
        ("you are", found["visitor"]["name"]),
    )
    warnings, reload = said["warnings"], button("Reload the configuration", id="reload")
    return page(
        "State",
        "/state",
        tag("h1", "State"),
        facts(told),
        part("Warnings", tag("ul", (tag("li", one) for one in warnings))) if warnings else None,
        part("Secrets", _secrets(found["routes"], now)),
        part("Certificates", _certificates(found["certificates"], now)),
        part("Address sets", _sets(found["address_sets"])),
        tag("p", reload, class_="acts", hidden=True) if may_act else None,
        may_act=may_act,
        page="state",
    )


def _secrets(routes: Iterable[Found], now: float) -> Markup:
    rows = [
        row(route["name"], one["name"], *_uses(one, now), _dates(one, now))
        for route in routes
        for one in [*route.get("secrets", ()), *route.get("token", {}).get("secrets", ())]
    ]
    return _table("Secrets", ("route", "secret", "uses", "last used", "valid"), rows, "No route has a secret.")


def _uses(secret: Found, now: float) -> tuple[str, str]:
    uses, last = secret["uses"], secret["last_used"]
    return f"{int(uses or 0):,}", f"{about_time(now - last)} ago" if last else "never"


def _dates(secret: Found, now: float) -> str:
    since, until = secret["not_before"], secret["not_after"]
    if since and since > now:
        return f"from {day(since)}"
    if not until:
        return "without an end"
    return f"until {day(until)}" if until > now else f"ended {day(until)}"


def _certificates(found: Iterable[Found], now: float) -> Markup:
    rows = []
    for one in found:
        until = one["not_after"]
        ends = f"{day(until)} (in {about_time(max(until - now, 0))})"
        rows.append(row(", ".join(one["names"]), one["state"], ends, one["file"]))
    return _table("Certificates", ("names", "state", "ends", "file"), rows, "Plain HTTP: none.")


def _sets(found: Iterable[Found]) -> Markup:
    rows = [row(one["name"], f"{int(one['prefixes']):,}", about_time(one["age_s"])) for one in found]
    return _table("Address sets", ("set", "prefixes", "age"), rows, "No published set is in use.")


def _table(caption: str, heads: tuple[str, ...], rows: list[Markup], nothing: str) -> Markup:
    return table(caption, heads, rows) if rows else tag("p", nothing)
