"""The routes: what went through each in the last hour, and why the rest was refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from proxy.config.sizes import took
from proxy.console.history import GOOD_WORDS
from proxy.console.pages import plots
from proxy.console.pages.frame import page
from proxy.console.pages.markup import Markup, tag

Found = Mapping[str, Any]


def render(found: Found, now: float, *, may_act: bool) -> Markup:
    """The page."""
    shown = [_route(route, now, may_act=may_act) for route in found["routes"]]
    others = [
        tag("section", tag("h2", name or "no route"), _figures(one["hour"], name), _plots(one["points"], now))
        for name, one in found["others"].items()
    ]
    return page(
        "Routes", "/routes", tag("h1", "Routes, in the last hour"), shown, others, may_act=may_act, page="routes"
    )


def _route(route: Found, now: float, *, may_act: bool) -> Markup:
    name = route["name"]
    heading = tag("h2", tag("a", name, href=f"/?{urlencode({'q': f'route:{name}'})}"))
    methods = " ".join(route["methods"])
    guard = route["provider"] or (f"token ({route['token']['kind']})" if "token" in route else "no proof")
    upstreams = ", ".join(one["url"] + ("" if one["well"] is not False else " (unwell)") for one in route["upstream"])
    word = "resume" if route["paused"] else "pause"
    pause = tag("button", word.capitalize(), type="button", data_route=name, data_act=word, disabled=not may_act)
    return tag(
        "section",
        heading,
        tag("p", f"{methods} {route['path']}", "" if route["exact"] else " and below", f", {guard}, to {upstreams}"),
        tag("p", tag("strong", "paused: what comes is kept"), class_="cause") if route["paused"] else None,
        _figures(route["hour"], name),
        _plots(route["points"], now),
        tag("p", pause, class_="acts", hidden=True) if route["pausable"] else None,
    )


def _plots(points: list[Found], now: float) -> Markup:
    """The two plots, each with its words."""
    made = (
        (plot, tag("figcaption", text))
        for plot, text in (
            (plots.requests(points, now), "requests, and what was refused of them"),
            (plots.durations(points, now), "p50 and p99"),
        )
    )
    return tag("div", (tag("figure", *each) for each in made), class_="plots")


def _figures(hour: Found | None, name: str) -> list[Markup]:
    if hour is None or not hour["requests"]:
        return [tag("p", "No requests.")]
    durations = f"p50 {took(hour['p50_s'])}, p99 {took(hour['p99_s'])}"
    text = f"{hour['requests']:,} requests, {hour['refused']:,} refused; {durations}."
    causes = [
        tag(
            "li",
            tag("a", word, href=f"/?{urlencode({'q': f'route:{name} reason:{word}' if name else f'reason:{word}'})}"),
            f" {number:,}",
        )
        for word, number in hour["reasons"].items()
        if word not in GOOD_WORDS
    ]
    return [tag("p", text), tag("ul", causes, class_="causes")] if causes else [tag("p", text)]
