"""The user that serves: root binds port 443 and reads the keys, and then becomes another one.

The order matters: first the supplementary groups, then the group, then the user, for each step needs the right that the
last one gives up. Real, effective and saved ids all change, and it is tried whether there is a way back. Who serves by
itself becomes the user when everything is open; under a supervisor each worker does, and the supervisor, which hears no
stranger, stays what it was, so that it can read keys and bind ports for a reload. This module decides nothing about
files but the owner of the access log.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable

from proxy.config.guarded_files import give_away
from proxy.config.host import Identity
from proxy.config.settings import Settings, identity_of
from proxy.net.sockets import NotPermittedError
from proxy.ops.journal import log

#: Nothing that we create is for all users; what its owner's group may read says so by its own mode.
UMASK = 0o027


def become(settings: Settings, sockets: Iterable[str] = ()) -> None:
    """Become the user that the settings name, for good, and give it ``sockets``, the files of the unix sockets that we
    made. Does nothing where none is named or we are that user already.

    Raises ConfigError, and NotPermittedError where we are not root.
    """
    identity = identity_of(settings)
    if identity is None or identity.is_ours:
        return
    if os.geteuid() != 0:
        raise NotPermittedError(f"cannot run as {identity.name}: only root can become another user")
    _give_log(settings.access_log, identity)
    for path in sockets:
        try:
            give_away(path, identity.uid, identity.gid, kind=stat.S_ISSOCK)
        except OSError as error:
            log.warning("%s is not given to %s: %s", path, identity.name, error.strerror)  # no longer ours, or gone
    identity.assume()
    _check(identity)
    log.info("running as %s (uid %d, gid %d)", identity.name, identity.uid, identity.gid)
    if settings.state_dir is not None and not os.access(settings.state_dir, os.W_OK | os.X_OK):
        log.warning("%s may not write to %s: nothing outlives a restart", identity.name, settings.state_dir)


def owners_of(settings: Settings) -> tuple[int, ...]:
    """The user that the settings name, as an owner of files that we write to."""
    identity = identity_of(settings)
    return () if identity is None else (identity.uid,)


def advice(settings: Settings) -> list[str]:
    """What the banner says of the rights that we keep without need."""
    if os.geteuid() != 0 or settings.user is not None:
        return []
    return ["running as root: --user NAME (or `user`) gives up what is not needed once the sockets are open"]


def _check(identity: Identity) -> None:
    """A way back to root would make all of it a show."""
    ids = (os.getresuid(), os.getresgid(), set(os.getgroups()))
    wanted = ((identity.uid,) * 3, (identity.gid,) * 3, set(identity.groups))
    # Some systems list the group itself among the supplementary ones.
    if ids[:2] != wanted[:2] or ids[2] - {identity.gid} != wanted[2] - {identity.gid}:
        raise NotPermittedError(f"cannot run as {identity.name}: the system kept some of root's rights")
    if identity.uid != 0:
        with contextlib.suppress(PermissionError):
            os.setuid(0)
            raise NotPermittedError(f"cannot run as {identity.name}: the way back to root is open")


def _give_log(path: str, identity: Identity) -> None:
    """The access log is opened by root and opened again, after a rotation, by the user. Only a plain file is given."""
    if path in ("-", "off"):
        return
    with contextlib.suppress(OSError):
        give_away(path, identity.uid, identity.gid)
