"""The state of the process: listeners, secrets, certificates, address sets, and what there is to warn of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.config.sizes import about_size, about_time
from proxy.console.pages.markup import Child, Markup, day, page, table, tag

Found = Mapping[str, Any]


def render(found: Found, now: float, *, may_act: bool) -> Markup:
    """The page."""
    said, console = found["configuration"], found["console"]
    kept = f"{console['kept']:,} deliveries in {about_size(console['bytes'])}, {console['seen']:,} seen"
    facts: tuple[tuple[str, Child], ...] = (
        ("hookward", f"{found['version']}, Python {found['python']}"),
        ("configuration", f"{said['path'] or 'flags'}, generation {found['generation']}"),
        ("listens on", ", ".join(said["listen"])),
        ("ready", "yes" if not found["not_ready"] else "; ".join(found["not_ready"])),
        ("workers", ", ".join(f"{int(number)} {state}" for state, number in found["workers"].items() if number)),
        ("kept here", kept),
        ("you are", found["visitor"]["name"]),
    )
    warnings = said["warnings"]
    return page(
        "State",
        "/state",
        tag("h1", "State"),
        tag("dl", ((tag("dt", name), tag("dd", text)) for name, text in facts), class_="facts"),
        tag("section", tag("h2", "Warnings"), tag("ul", (tag("li", one) for one in warnings))) if warnings else None,
        tag("section", tag("h2", "Secrets"), _secrets(found["routes"], now)),
        tag("section", tag("h2", "Certificates"), _certificates(found["certificates"], now)),
        tag("section", tag("h2", "Address sets"), _sets(found["address_sets"])),
        tag("p", tag("button", "Reload the configuration", type="button", id="reload"), class_="acts", hidden=True)
        if may_act
        else None,
        may_act=may_act,
        page="state",
    )


def _secrets(routes: Iterable[Found], now: float) -> Markup:
    rows = [
        tag("tr", (tag("td", cell) for cell in (route["name"], one["name"], *_uses(one, now), *_dates(one, now))))
        for route in routes
        for one in [*route.get("secrets", ()), *route.get("token", {}).get("secrets", ())]
    ]
    if not rows:
        return tag("p", "No route has a secret.")
    return table("Secrets", ("route", "secret", "uses", "last used", "valid"), rows)


def _uses(secret: Found, now: float) -> tuple[str, str]:
    uses, last = secret["uses"], secret["last_used"]
    return f"{int(uses or 0):,}", f"{about_time(now - last)} ago" if last else "never"


def _dates(secret: Found, now: float) -> tuple[str]:
    since, until = secret["not_before"], secret["not_after"]
    if since and since > now:
        return (f"from {day(since)}",)
    if not until:
        return ("without an end",)
    return (f"until {day(until)}" if until > now else f"ended {day(until)}",)


def _certificates(found: Iterable[Found], now: float) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", ", ".join(one["names"])),
            tag("td", one["state"]),
            tag("td", day(one["not_after"]), f" (in {about_time(max(one['not_after'] - now, 0))})"),
            tag("td", one["file"]),
        )
        for one in found
    ]
    return table("Certificates", ("names", "state", "ends", "file"), rows) if rows else tag("p", "Plain HTTP: none.")


def _sets(found: Iterable[Found]) -> Markup:
    rows = [
        tag("tr", (tag("td", cell) for cell in (one["name"], f"{int(one['prefixes']):,}", about_time(one["age_s"]))))
        for one in found
    ]
    return table("Address sets", ("set", "prefixes", "age"), rows) if rows else tag("p", "No published set is in use.")
