"""Users and groups of this host: found by name or number, and what a process is that becomes one of them."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from proxy.config.settings import Settings
from proxy.errors import ConfigError
from proxy.values import frozen


@frozen
class Identity:
    """A user and group of this host, by number. ``groups`` are the supplementary ones."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def is_ours(self) -> bool:
        """Whether this process is that user and group already."""
        return os.getresuid() == (self.uid,) * 3 and os.getresgid() == (self.gid,) * 3

    def assume(self) -> None:
        """Become it, for good: each step needs a right that the one before has not given up yet. OSError."""
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Be it meanwhile as far as files go, to judge what it may do. Only root can; for others nothing changes."""
        if os.geteuid() != 0:
            yield
            return
        groups, gid = os.getgroups(), os.getegid()
        try:
            os.setgroups(self.groups)
            os.setegid(self.gid)
            os.seteuid(self.uid)
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


def identity_of(settings: Settings) -> Identity | None:
    """The user to become; None where none is named. Raises ConfigError where there is no such user or group."""
    return None if settings.user is None and settings.group is None else identity(settings.user, settings.group)


def identity(user: str | None, group: str | None) -> Identity:
    """The user and group of these names or numbers; without a group, the user's own. Raises ConfigError."""
    gid = None if group is None else find_group(group)
    if user is None:
        assert gid is not None
        return Identity(f"the group {group}", os.geteuid(), gid, (gid,))
    found = find_user(user)
    if gid is None:
        gid = found.pw_gid
    return Identity(found.pw_name, found.pw_uid, gid, tuple(os.getgrouplist(found.pw_name, gid)))


def find_user(name: str, where: str = "user") -> pwd.struct_passwd:
    """The user of a name or number; ConfigError at ``where`` (a key or a flag) where the host has none such."""
    with suppress(KeyError):
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    raise ConfigError.of(where, f"this host has no user {name!r}", "name one of its users (useradd makes one)")


def find_group(name: str, where: str = "group") -> int:
    """The number of a group, by its name or number; ConfigError as above."""
    with suppress(KeyError):
        return (grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)).gr_gid
    raise ConfigError.of(where, f"this host has no group {name!r}", "name one of its groups (groupadd)")
