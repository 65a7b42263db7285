"""Kept deliveries whose route keeps no more: what becomes of them, told with the command that ends it.

Where there is a route of the name still, they are delivered to its upstream, by the rule that a route has which says
nothing of its delivery. Where there is none, they stay as they are: until there is one again, until they are dropped,
or until they are older than ``max_age``.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace

from proxy.config.problems import Note
from proxy.core.delivery import DeliveryRule
from proxy.core.policy import Policy, Route
from proxy.queue.records import LaneCount

log = logging.getLogger(__name__)


def destinations(policy: Policy) -> dict[str, Route]:
    """What may be delivered, by the names of lanes: of routes that keep, of copies, and of routes that keep no more."""
    direct = {route.name: replace(route, delivery=DeliveryRule()) for route in policy.routes}
    return direct | policy.lanes()


def stray_notes(counts: Iterable[LaneCount], policy: Policy, config: str | None) -> Iterator[Note]:
    """What is to be said of lanes whose route keeps no more; ``config`` is the path of the configuration."""
    keeping, names = policy.lanes(), {route.name for route in policy.routes}
    command = "hookward queue" if config is None else f"hookward queue -c {shlex.quote(config)}"
    for one in counts:
        if one.lane in keeping or not one.live + one.dead:
            continue
        search = shlex.quote(f'route:"{one.lane}"')
        held = f"{one.live} waiting and {one.dead} dead"
        if one.lane in names:
            becomes = "those that wait are delivered" if one.live else "dead letters stay until they are replayed"
            text = f"route {one.lane!r} keeps no more and has {held}: {becomes}; `{command} list {search}` shows them"
            yield Note("H602", text)
        else:
            text = f"{held} of {one.lane!r} have no route any more: name a route so again, or remove them: "
            yield Note("H601", f"{text}`{command} drop --search {search} --yes`")


class StrayWatch:
    """Tells of them in the log, once with each load of the configuration."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._told: set[str] = set()

    def look(self, policy: Policy, counts: Iterable[LaneCount]) -> None:
        """Say what was not said yet."""
        if policy is not self._policy:
            self._policy = policy
            self._told.clear()
        unknown = [one for one in counts if one.lane not in self._told]
        for one in unknown:
            for note in stray_notes([one], policy, None):
                self._told.add(one.lane)
                log.warning("%s", note)
