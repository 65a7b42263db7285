"""The queue: how much waits for each route, and each delivery that waits or has died, with its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from proxy.config.sizes import about_size, about_time
from proxy.console.pages.deliveries import search
from proxy.console.pages.markup import Child, Markup, page, problem, table, tag

Found = Mapping[str, Any]


def render(found: Found, query: str, *, may_act: bool) -> Markup:
    """The page."""
    if not found["configured"]:
        content: list[Child] = [
            tag("p", "No route keeps deliveries: write ", tag("code", 'deliver = "queue"'), " in one.")
        ]
    else:
        routes = table("Routes", ("route", "waiting", "dead", "oldest", "size", ""), map(_lane, found["routes"]))
        content = [routes, search(query, "/queue"), _records(found, query, may_act=may_act)]
    return page("Queue", "/queue", tag("h1", "Queue"), content, may_act=may_act, page="queue")


def mistaken(query: str, what: str, mend: str, column: int) -> Markup:
    """The page of a query that cannot be read."""
    return page(
        "Queue", "/queue", tag("h1", "Queue"), search(query, "/queue"), problem(f"Column {column}: {what}", mend)
    )


def _lane(lane: Found) -> Markup:
    cells = (lane["route"], lane["waiting"], lane["dead"], about_time(lane["oldest_s"]), about_size(lane["bytes"]))
    return tag("tr", (tag("td", cell) for cell in cells), tag("td", "paused" if lane["paused"] else ""))


def _records(found: Found, query: str, *, may_act: bool) -> list[Child]:
    if not found["records"]:
        return [tag("p", "Nothing waits.")]
    heads = ("delivery", "route", "event", "condition", "accepted", "attempts", "last", "")
    rows = (_record(one, may_act=may_act) for one in found["records"])
    more = found["next"]
    older = tag("a", "More", href=f"/queue?{urlencode({'q': query, 'after': more})}") if more else None
    return [table("Deliveries", heads, rows), tag("p", older)]


def _record(one: Found, *, may_act: bool) -> Markup:
    attempts = one["attempts"]
    last = attempts[-1] if attempts else None
    said = "" if last is None else f"{last['status'] or ''} {last['reason']} {last['detail']}".strip()
    buttons = (
        tag("button", word.capitalize(), type="button", data_queue=one["id"], data_act=word, disabled=not may_act)
        for word in ("replay", "drop")
    )
    cells = (
        one["id"],
        one["route"],
        one.get("event", ""),
        one["condition"],
        one["accepted"],
        one["attempts_made"],
        said,
    )
    return tag(
        "tr",
        (tag("td", cell) for cell in cells),
        tag("td", ((each, " ") for each in buttons), class_="acts", hidden=True),
    )
