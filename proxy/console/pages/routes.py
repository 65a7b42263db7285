"""The routes: what went through each in the last hour, and why the rest was refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from proxy.config.sizes import took
from proxy.console.history import GOOD_WORDS
from proxy.console.pages.markup import Markup, page, tag

# -- Plots of the last hour, a step for each minute, as SVG: bars of requests and lines of durations.

STEPS, STEP_S = 60, 60
_WIDTH, _HEIGHT = 5, 48
_TOP = 44  # of the highest, so that a line is not cut

Point = Mapping[str, Any]


def requests(points: Iterable[Point], now: float) -> Markup:
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


def durations(points: Iterable[Point], now: float) -> Markup:
    """The times that a half and 99 % of the requests stayed under."""
    by_step = _by_step(points, now)
    most = max((point["p99_s"] or 0.0 for point in by_step.values()), default=0.0)
    lines = []
    for name in ("p99_s", "p50_s"):
        found = [(step, point[name]) for step, point in by_step.items() if point[name] is not None]
        if found and most:
            at = " ".join(f"{step * _WIDTH + 2},{_HEIGHT - _TOP * value / most:.1f}" for step, value in found)
            lines.append(tag("polyline", points=at, class_=name.removesuffix("_s")))
            # A line of one point would not be seen.
            step, value = found[-1]
            lines.append(
                tag("circle", cx=step * _WIDTH + 2, cy=f"{_HEIGHT - _TOP * value / most:.1f}", r=2, class_="last")
            )
    return _plot(lines, f"durations, p99 at most {took(most)}")


def _by_step(points: Iterable[Point], now: float) -> dict[int, Point]:
    """The points of the last hour by their place in it, the last one being the minute that is under way."""
    last = int(now) // STEP_S

    def place(point: Point) -> int:
        return STEPS - 1 - last + int(point["time"]) // STEP_S

    return {place(point): point for point in points if 0 <= place(point) < STEPS}


def _plot(marks: list[Markup], said: str) -> Markup:
    box = f"0 0 {STEPS * _WIDTH} {_HEIGHT}"
    return tag("svg", marks, viewBox=box, role="img", aria_label=said, class_="plot", preserveAspectRatio="none")


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
            (requests(points, now), "requests, and what was refused of them"),
            (durations(points, now), "p50 and p99"),
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
