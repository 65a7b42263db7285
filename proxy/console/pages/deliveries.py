"""The list of deliveries, the newest first. The script adds what comes, of rows that are worded here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from proxy.config.sizes import took
from proxy.console.kept import Json
from proxy.console.pages.markup import Markup, clock, counted, day, page, problem, tag

Found = Mapping[str, Any]

_EXAMPLES = 'route:github verdict:refused status:5xx >2s "text"'


def render(found: Found, query: str, seen: str, *, may_act: bool) -> Markup:
    """The page. ``seen`` is where the stream goes on from."""
    rows = [row(one) for one in found["deliveries"]]
    more = found["next"]
    older = tag("a", "Older", id="older", href=f"/?{urlencode({'q': query, 'after': more})}") if more else None
    nothing = "No delivery matches yet." if query else "No delivery yet: send one, and it appears here."
    return page(
        "Deliveries",
        "/",
        tag("h1", "Deliveries"),
        search(query),
        tag("p", _counts(found["counts"]), id="counts"),
        tag("p", nothing, id="nothing", hidden=bool(rows)),
        tag("ol", rows, id="list", aria_label="Deliveries, the newest first"),
        tag("p", older),
        may_act=may_act,
        page="list",
        query=query,
        seen=seen,
    )


def mistaken(query: str, what: str, mend: str, column: int) -> Markup:
    """The page of a query that cannot be read."""
    return page("Deliveries", "/", tag("h1", "Deliveries"), search(query), problem(f"Column {column}: {what}", mend))


def search(query: str, action: str = "/") -> Markup:
    """The filter. It stands in the address of the page."""
    return tag(
        "form",
        tag("label", "Filter ", tag("kbd", "/"), for_="q"),
        tag(
            "input",
            id="q",
            name="q",
            type="search",
            value=query,
            placeholder=_EXAMPLES,
            autocomplete="off",
            spellcheck="false",
        ),
        tag("button", "Find"),
        role="search",
        action=action,
        class_="search",
    )


def shown(one: Found) -> Json:
    """What a row shows of one delivery, for the page and for the script that adds what comes."""
    return {
        "id": one["id"],
        "href": f"/deliveries/{one['id']}",
        "verdict": one["verdict"] or "ended",
        "time": clock(one["time"]),
        "title": day(one["time"]),
        "cells": [
            ("verdict", one["verdict"] or "ended"),
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


def row(one: Found) -> Markup:
    """One delivery."""
    of: Found = shown(one)
    spans = ((" ", tag("span", text, class_=name)) for name, text in of["cells"])
    link = tag("a", tag("time", of["time"], title=of["title"]), spans, href=of["href"], class_=of["verdict"])
    return tag("li", link, data_id=of["id"])


def _counts(counts: Found) -> str:
    lost = counts["skipped"] + counts["dropped_for_age"] + counts["dropped_for_address"]
    gone = f", {lost:,} not kept" if lost else ""
    return f"{counted(counts['kept'], 'delivery', 'deliveries')} kept of {counts['seen']:,} seen{gone}. Times are UTC."
