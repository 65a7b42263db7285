"""``PathMap``: where a route's requests go below the application, where that is not the path they came to.

A route owns its path and what lies under it, by whole segments. Mapped, another path stands in the place of its own,
and what follows goes on byte for byte; a token that stands in the path is left out. The query is not looked at, and
what a signature covers is the target as it came.

Theory: why this is no way past a rule. What follows the route's path is the end of a path that ``core.target`` has
taken, cut at a slash, and the place was taken by it as well when the configuration was read. So no segment is empty or
of dots, nothing is encoded that was not, and the result is a path that ``core.target`` takes. It lies at the place or
under it, by whole segments. That it is no other route's place is for the policy to say (``Policy.leads_elsewhere``).
RFC 3986 section 3.3. This module decodes nothing and knows no route.
"""

from __future__ import annotations

from proxy.values import frozen

#: How a token's segment is written in a configuration, and shown wherever a path is shown.
TOKEN_SEGMENT = b"{token}"


@frozen
class PathMap:
    """``prefix`` is the route's path and ``place`` what stands for it, both raw. Where it ``has_token``, the segment
    behind the prefix, which then ends in a slash, is the token.
    """

    prefix: bytes
    place: bytes
    has_token: bool = False

    def owns(self, path: bytes) -> bool:
        """Whether the prefix owns ``path``, by whole segments."""
        return path == self.prefix or path.startswith(self.prefix.rstrip(b"/") + b"/")

    def of(self, target: bytes) -> bytes:
        """What is sent for ``target``, whose path the prefix owns."""
        path, mark, query = target.partition(b"?")
        rest = self.rest(path)
        return (self.place.rstrip(b"/") + rest if rest else self.place) + mark + query

    def rest(self, path: bytes) -> bytes:
        """What follows the prefix and the token in ``path``, from its slash on; b"" where nothing does."""
        if self.has_token:
            end = path.find(b"/", len(self.prefix))
            return path[end:] if end >= 0 else b""
        return b"" if path == self.prefix else path[len(self.prefix.rstrip(b"/")) :]

    def shown(self, path: bytes, *, proved: bool) -> bytes:
        """``path`` without the token that is in it, to be shown to anybody. Where that has not ``proved`` to be right,
        nothing behind it is shown either: the right one may stand there.
        """
        if not self.has_token or len(path) <= len(self.prefix):
            return path
        return self.prefix + TOKEN_SEGMENT + (self.rest(path) if proved else b"")


def map_of(path: bytes, rewrite: bytes | None, base: bytes, *, has_token: bool) -> PathMap | None:
    """The map of a route at ``path`` that has a ``rewrite``, a ``base`` (without a slash at its end) before all paths,
    or a token behind its path; None where requests go to the path they came to.
    """
    if rewrite is None and not base and not has_token:
        return None
    place = path if rewrite is None else rewrite
    if has_token and rewrite is None:
        place = path.rstrip(b"/") or b"/"
    return PathMap(path, base + place, has_token)
