"""What is said of a provider's name that nobody has."""

from __future__ import annotations

from proxy.config.problems import nearest
from proxy.core.schemes import ALIASES, PROVIDERS


def near_provider(name: str) -> str:
    """The mend for an unknown name."""
    near = nearest(name.lower().replace("-", "_")[:64], [*PROVIDERS, *ALIASES])
    return f"did you mean {near!r}?" if near else "`hookward providers` lists those that are known"
