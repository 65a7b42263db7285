"""Published address sets that all workers know as soon as one does, also without a state directory.

Workers share what they fetch through files (``config.set_shelf``), and what a later reload starts from must be what is
in force, not what came with the package. Where the configuration names no directory for that, the supervisor makes one
that is gone when it ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from proxy.config.accounts import Identity, identity_of
from proxy.config.settings import Loaded
from proxy.ops.journal import log
from proxy.ops.service import Load


class SharedSets:
    """Loads the configuration so that its address sets are shared."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._folder: str | None = None

    def load(self, generation: int) -> Loaded:
        """Load the configuration. Raises FlagError or ConfigError."""
        return self.share(self._load(generation))

    def share(self, loaded: Loaded) -> Loaded:
        """The same load, with a directory for its address sets where it needs one and names none."""
        if loaded.settings.state_dir is not None or not loaded.sets.used:
            return loaded
        if self._folder is None:
            try:
                self._folder = _make(identity_of(loaded.settings))
            except OSError as error:
                log.warning("each worker fetches address sets for itself: %s; set state_dir", error.strerror)
                return loaded
        return self._load(loaded.policy.generation, state_dir=self._folder)

    def close(self) -> None:
        """Remove the directory."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _make(owner: Identity | None) -> str:
    """A folder for the workers' user alone."""
    folder = tempfile.mkdtemp(prefix="hookward-sets-")
    if owner is not None and os.geteuid() == 0:
        os.chown(folder, owner.uid, owner.gid)
    return folder
