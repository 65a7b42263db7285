"""Which routes may own a path: whole segments of the raw path, case-sensitive (design section 4).

The answer for every configured path is laid out when the table is built, so a delivery to exactly that path costs one
dictionary lookup, and any other path one more for each of its segments. Nothing is kept between lookups: whoever
probes random paths fills no memory. This module does not normalise. Paths with two readings have been refused by
``core.target`` before they come here.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.policy import Route


class RouteTable:
    """The routes by path. ``/hooks`` owns ``/hooks`` and ``/hooks/…``; ``/hooks/`` owns itself and what lies below;
    an ``exact`` route owns its path alone.
    """

    __slots__ = ("_at", "_below", "_longest")

    def __init__(self, routes: Iterable[Route]) -> None:
        """Takes the routes in the order of the file; their paths begin with "/"."""
        by_path: dict[bytes, list[Route]] = {}
        for route in routes:
            by_path.setdefault(route.path, []).append(route)
        self._longest = 0
        #: A path -> every route that owns exactly this path.
        self._at: dict[bytes, tuple[Route, ...]] = {}
        #: A path that ends in "/" -> every route that owns what lies below it.
        self._below: dict[bytes, tuple[Route, ...]] = {}
        # From short to long: what a path inherits from those above it already stands.
        for path in sorted(by_path, key=len):
            self._add(path, tuple(by_path[path]))

    def _add(self, path: bytes, own: tuple[Route, ...]) -> None:
        inherited = self._inherited(path)
        self._at[path] = own + inherited
        wide = tuple(route for route in own if not route.exact)
        if wide:
            prefix = path if path.endswith(b"/") else path + b"/"
            self._below[prefix] = wide + inherited
            self._longest = max(self._longest, len(prefix))

    def candidates(self, path: bytes) -> tuple[Route, ...]:
        """The routes that own ``path`` (raw, without the query): longest path first, then in the order of the file."""
        routes = self._at.get(path)
        return self._inherited(path) if routes is None else routes

    def _inherited(self, path: bytes) -> tuple[Route, ...]:
        # What is longer than the longest prefix cannot change the answer: 8 KiB of slashes costs no more than that.
        prefix = path[: self._longest]
        while end := prefix.rfind(b"/") + 1:
            prefix = prefix[:end]
            routes = self._below.get(prefix)
            if routes is not None:
                return routes
            prefix = prefix[:-1]
        return ()
