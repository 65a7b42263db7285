"""What a start has gathered before anything serves: the configuration, how to load it again, and what was handed over.

The same for one process and for a supervisor. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded
from proxy.ops.handover import OldProcess
from proxy.ops.notify import Notifier
from proxy.ops.places import SocketStore
from proxy.values import frozen


class Load(Protocol):
    """Loads the configuration again."""

    def __call__(self, generation: int, *, state_dir: str | None = None) -> Loaded:
        """The configuration, as the given generation; ``state_dir`` where it names none. Raises FlagError or
        ConfigError.
        """
        ...


@frozen
class Launch:
    """One start. ``old`` is from the process that an upgrade replaces; ``loop`` names the event loop."""

    loaded: Loaded
    load: Load
    environ: Mapping[str, str]
    shelf: SetShelf
    notifier: Notifier
    old: OldProcess | None
    loop: str

    def sockets(self) -> SocketStore:
        """Where sockets come from: the old process, systemd, or nowhere yet."""
        return SocketStore(self.environ, () if self.old is None else self.old.held)
