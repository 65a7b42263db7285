"""What ``check`` says of words that a route's provider does not use: event types and methods that never come.

A delivery that is refused for its type is lost at a provider that never sends again: a slip is told before it counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.notes import Note
from proxy.config.problems import nearest
from proxy.core.policy import Route
from proxy.core.schemes import Provider, find

#: What the endpoint checks of providers use, besides the methods of deliveries.
_OF_CHECKS = frozenset({b"GET", b"HEAD"})


def of_provider(route: Route) -> Iterator[Note]:
    """The notes on a route's events and methods. A scheme of one's own has no lists, and nothing is said of it."""
    provider = find(route.provider) if route.provider else None
    if provider is None:
        return
    yield from _of_events(route, provider)
    sent = {method.encode("ascii") for method in provider.methods}
    odd = route.methods - sent - (_OF_CHECKS if provider.handshake is not None else frozenset())
    told = ", ".join(provider.methods)
    if not route.methods & sent:
        yield Note("H321", f"{provider.title} sends {told}, which `methods` does not name: every delivery is refused")
    elif odd:
        yield Note("H321", f"{provider.title} sends {told}, and never {_list(method.decode() for method in odd)}")


def _of_events(route: Route, provider: Provider) -> Iterator[Note]:
    for event in sorted((route.events or frozenset()) - provider.events) if provider.events else ():
        near = nearest(event, sorted(provider.events), cutoff=0.7)
        meant = f"did you mean {near!r}?" if near else f"it has {_list(provider.events)}"
        yield Note("H320", f"{provider.title} has no event type {event[:80]!r}: {meant}")


def _list(words: Iterator[str] | frozenset[str]) -> str:
    most = 12
    listed = sorted(words)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
