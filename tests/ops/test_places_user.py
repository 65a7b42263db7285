"""Giving up root: in the right order, for good, and told where it cannot be. In processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.settings import Settings, identity_of
from proxy.errors import ConfigError
from proxy.ops.places import advice
from tests.whole.process import ROOT, environment

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
SCRIPT = """
import os, sys
sys.path.insert(0, {root!r})
from dataclasses import replace
from proxy.config.load import load
from proxy.ops.journal import outcome
from proxy.ops.places import become
settings = load(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"], {{}}).settings
{before}
def run():
    become(replace(settings, **{fields!r}), {sockets!r})
    return 0
code = outcome(run)
print(os.getresuid(), os.getresgid(), sorted(os.getgroups()))
{after}
sys.exit(code)
"""


def settings(**fields: object) -> Settings:
    return replace(load(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"], {}).settings, **fields)


def run(
    before: str = "", after: str = "", sockets: tuple[str, ...] = (), **fields: object
) -> tuple[int, list[str], str]:
    script = SCRIPT.format(root=str(ROOT), before=before, after=after, fields=fields, sockets=sockets)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False, timeout=30
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_nobody_is_named() -> None:
    assert identity_of(settings()) is None
    assert run()[0] == 0


@pytest.mark.parametrize(("field", "what"), [("user", "no user"), ("group", "no group")])
@pytest.mark.parametrize("name", ["nobody-of-that-name", "4294967000"])
def test_who_does_not_exist(field: str, what: str, name: str) -> None:
    with pytest.raises(ConfigError) as error:
        identity_of(settings(**{field: name}))
    [problem] = error.value.problems
    assert problem.where == field
    assert what in problem.what


def test_a_user_brings_groups_and_a_group_may_be_chosen() -> None:
    alone = identity_of(settings(user="daemon"))
    chosen = identity_of(settings(user="daemon", group="nogroup"))
    assert alone is not None
    assert chosen is not None
    assert (chosen.uid, chosen.name) == (alone.uid, "daemon")
    assert chosen.gid != alone.gid
    assert chosen.gid in chosen.groups
    assert identity_of(settings(user=str(alone.uid))) == alone


@as_root
def test_all_ids_change_and_there_is_no_way_back() -> None:
    after = """
for way in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        way()
        print("back again")
    except PermissionError:
        print("no way")
"""
    code, said, _ = run(user="nobody", after=after)
    nobody = identity_of(settings(user="nobody"))
    assert nobody is not None
    assert code == 0
    uid, gid = nobody.uid, nobody.gid
    assert said == [f"{(uid,) * 3} {(gid,) * 3} {[gid]}", *["no way"] * 4]


@as_root
def test_a_group_alone() -> None:
    code, said, _ = run(group="nogroup")
    assert code == 0
    assert said[0].startswith("(0, 0, 0)")
    assert "(0, 0, 0)" not in said[0][9:]


@as_root
def test_who_is_that_user_already_may_say_so_and_others_may_not() -> None:
    become_nobody = "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)"
    assert run(become_nobody, user="65534", group="65534")[0] == 0
    code, said, errors = run(become_nobody, user="daemon")
    assert code == 77
    assert said[0].startswith("(65534, 65534, 65534)")
    assert "only root" in errors


@as_root
def test_a_log_of_root_is_given_and_links_are_not_followed(tmp_path: Path) -> None:
    log, other, twice = tmp_path / "access.log", tmp_path / "other", tmp_path / "twice"
    for path in (log, other):
        path.write_bytes(b"")
    twice.hardlink_to(other)
    link = tmp_path / "link"
    link.symlink_to(other)
    nobody = identity_of(settings(user="nobody"))
    assert nobody is not None
    for path in (log, link, twice, tmp_path / "missing"):
        assert run(user="nobody", access_log=str(path))[0] == 0
    assert log.stat().st_uid == nobody.uid
    assert other.stat().st_uid == 0


@as_root
def test_a_state_folder_that_is_not_the_users_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    code, _, errors = run(
        "from proxy.ops.journal import open_journal; open_journal('info')", user="nobody", state_dir=str(tmp_path)
    )
    assert code == 0
    assert "nothing outlives a restart" in errors


@as_root
def test_root_is_told_what_to_add() -> None:
    [line] = advice(settings())
    assert "--user" in line
    assert advice(settings(user="nobody")) == []
