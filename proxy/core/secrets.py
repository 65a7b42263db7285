"""A named secret with its dates. Its value never shows in ``repr``, a log or an error."""

from __future__ import annotations

from dataclasses import field

from proxy.values import frozen


@frozen
class Secret:
    """One key of a guard; several live at once while a key is rotated.

    ``not_before`` and ``not_after`` are seconds since the epoch. Outside them the secret matches nothing.
    """

    name: str
    value: bytes = field(repr=False)
    not_before: float | None = None
    not_after: float | None = None

    def __post_init__(self) -> None:
        if not self.value:
            raise ValueError("a secret is not empty")

    @property
    def has_dates(self) -> bool:
        """Whether it counts at some times only."""
        return self.not_before is not None or self.not_after is not None

    def live(self, now: float) -> bool:
        """Whether the secret counts at ``now`` (seconds since the epoch)."""
        if self.not_before is not None and now < self.not_before:
            return False
        return self.not_after is None or now < self.not_after
