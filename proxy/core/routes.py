"""Which routes own a path: whole segments of the raw path, case-sensitive (design section 4).

The longest path that owns a target decides alone. What its routes refuse is refused: were it passed on to the routes of
a shorter path, leaving a signature out would be the way to the one that asks for less. The routes of every configured
path are laid out when the table is built, so a delivery to exactly that path costs one dictionary lookup, and any other
path one more for each of its segments. Nothing is kept between lookups: probing random paths fills no memory. This
module does not normalise. Paths with two readings have been refused by ``core.target`` before they come here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class Placed(Protocol):
    """What has a path: ``core.policy.Route``."""

    @property
    def path(self) -> bytes:
        """Raw, beginning with "/"."""

    @property
    def alone(self) -> bool:
        """Whether it owns this path and nothing below it."""


R = TypeVar("R", bound=Placed)


class RouteTable(Generic[R]):
    """The routes by path. ``/hooks`` owns ``/hooks`` and ``/hooks/…``; ``/hooks/`` owns itself and what lies below;
    a route that is ``alone`` owns its path and no more.
    """

    __slots__ = ("_at", "_below", "_longest")

    def __init__(self, routes: Iterable[R]) -> None:
        """Takes the routes in the order of the file; their paths begin with "/"."""
        by_path: dict[bytes, list[R]] = {}
        for route in routes:
            by_path.setdefault(route.path, []).append(route)
        self._longest = 0
        #: A path -> the routes that own exactly this path.
        self._at: dict[bytes, tuple[R, ...]] = {path: tuple(own) for path, own in by_path.items()}
        #: A path that ends in "/" -> the routes that own what lies below it.
        self._below: dict[bytes, tuple[R, ...]] = {}
        # From short to long: "/x" and "/x/" own the same paths below them, and the longer one decides.
        for path in sorted(by_path, key=len):
            wide = tuple(route for route in by_path[path] if not route.alone)
            if wide:
                prefix = path if path.endswith(b"/") else path + b"/"
                self._below[prefix] = wide
                self._longest = max(self._longest, len(prefix))

    def candidates(self, path: bytes) -> tuple[R, ...]:
        """The routes of the longest path that owns ``path`` (raw, without the query), in the order of the file."""
        routes = self._at.get(path)
        if routes is not None:
            return routes
        # What is longer than the longest prefix cannot change the answer: 8 KiB of slashes costs no more than that.
        prefix = path[: self._longest]
        while end := prefix.rfind(b"/") + 1:
            prefix = prefix[:end]
            routes = self._below.get(prefix)
            if routes is not None:
                return routes
            prefix = prefix[:-1]
        return ()
