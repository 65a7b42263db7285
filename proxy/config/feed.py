"""``Feed``: one published list of addresses, as the configuration and the catalogue speak of it.

It says where the list is and what it looks like, never what is in it.
"""

from __future__ import annotations

from proxy.core.feed_paths import Shape
from proxy.values import frozen

#: How often a list is fetched, unless a table says otherwise. Most feeds then answer "not modified".
REFRESH_S = 3600.0


@frozen
class Feed:
    """One published list. ``url`` "" is one that no program can fetch; ``shape`` None is text, one prefix a line.

    ``refresh_s`` 0 is never. Two feeds with the same ``key`` give the same list.
    """

    name: str
    url: str
    shape: Shape | None
    path: str = ""  # as written
    refresh_s: float = REFRESH_S
    docs: str = ""
    note: str = ""
    built_in: bool = True

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it this list."""
        return self.name, self.url, self.path

    @property
    def is_refreshed(self) -> bool:
        """Whether it is fetched from time to time."""
        return bool(self.url) and self.refresh_s > 0
