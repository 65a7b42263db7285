"""Users and groups of this host, by name or number."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from proxy.config.host import find_group, find_user, identity
from proxy.errors import ConfigError


def test_by_name_and_by_number() -> None:
    nobody = pwd.getpwnam("nobody")
    assert find_user("nobody") == find_user(str(nobody.pw_uid)) == nobody
    group = grp.getgrgid(nobody.pw_gid)
    assert find_group(group.gr_name) == find_group(str(nobody.pw_gid)) == nobody.pw_gid


def test_without_a_group_it_is_the_users_own() -> None:
    nobody = pwd.getpwnam("nobody")
    found = identity("nobody", None)
    assert (found.name, found.uid, found.gid) == ("nobody", nobody.pw_uid, nobody.pw_gid)
    assert nobody.pw_gid in found.groups
    assert identity(None, str(nobody.pw_gid)).uid == os.geteuid()


def test_what_is_ours_already() -> None:
    assert identity(str(os.getuid()), str(os.getgid())).is_ours
    assert not identity("nobody", None).is_ours or os.getuid() == pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize("name", ["no-such-account", "4294967290"])
def test_what_is_not_there_is_told_where_it_was_asked_for(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--owner: this host has no user '{name}'"):
        find_user(name, "--owner")
    with pytest.raises(ConfigError, match=f"group: this host has no group '{name}'"):
        find_group(name)
