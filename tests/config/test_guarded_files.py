"""Files in folders that another user may change. What needs a second user runs as root only."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.guarded_files import (
    ForeignLinkError,
    give_away,
    make_folder,
    open_for_reading,
    open_for_writing,
    reach,
    replace_file,
    write_private,
)
from tests.whole.process import environment

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led by another user")
NOBODY = 65534
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
Attack = Callable[[Path, Path], None]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of another user."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """What is root's alone."""
    path = tmp_path / "treasure"
    path.write_bytes(b"root's")
    path.chmod(0o600)
    return path


def link(at: Path, to: Path) -> None:
    at.symlink_to(to)
    os.lchown(at, NOBODY, NOBODY)


def second_name(at: Path, to: Path) -> None:
    at.hardlink_to(to)


def pipe(at: Path, to: Path) -> None:
    del to
    os.mkfifo(at)
    os.chown(at, NOBODY, NOBODY)


def strangers(at: Path, to: Path) -> None:
    del to
    at.write_bytes(b"")
    os.chown(at, 4242, 4242)


ATTACKS = {"link": link, "second name": second_name, "pipe": pipe, "another's file": strangers}


def append(path: Path, text: bytes = b"x", **more: tuple[int, ...]) -> None:
    descriptor = open_for_writing(str(path), FLAGS, 0o640, **more)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def test_a_file_is_made_and_appended_to(tmp_path: Path) -> None:
    append(tmp_path / "log")
    append(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"xx"
    assert os.get_blocking(open_for_writing(str(tmp_path / "log"), FLAGS, 0o640))


@as_root
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_another_user_leads_us_nowhere(theirs: Path, treasure: Path, attack: Attack) -> None:
    attack(theirs / "log", treasure)
    with pytest.raises(OSError, match=r".") as caught:
        append(theirs / "log")
    assert caught.value.errno in {errno.EXDEV, errno.EMLINK, errno.ENXIO, errno.EINVAL, errno.EPERM}
    with pytest.raises(OSError, match=r"."):
        write_private(str(theirs / "log"), b"x")
    assert treasure.read_bytes() == b"root's"


@as_root
def test_a_folder_on_the_way_that_was_exchanged(tmp_path: Path, theirs: Path, treasure: Path) -> None:
    link(theirs / "logs", tmp_path)
    for step in (
        lambda: append(theirs / "logs" / "treasure"),
        lambda: open_for_reading(str(theirs / "logs" / "treasure")),
        lambda: replace_file(str(theirs / "logs" / "treasure"), b"x", 0),
        lambda: make_folder(str(theirs / "logs" / "more")),
        lambda: give_away(str(theirs / "logs" / "treasure"), NOBODY, NOBODY),
    ):
        with pytest.raises(ForeignLinkError):
            step()
    assert (treasure.read_bytes(), treasure.stat().st_uid) == (b"root's", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs", "treasure"]


@as_root
def test_what_belongs_there_is_written_to(theirs: Path) -> None:
    """A file of root's, of the folder's owner, and of whom we are told."""
    for name, owner in (("root", 0), ("owner", NOBODY), ("told", 4242)):
        (theirs / name).write_bytes(b"")
        os.chown(theirs / name, owner, owner)
        append(theirs / name, owners=(4242,))
        assert (theirs / name).read_bytes() == b"x"


@as_root
def test_a_folder_that_a_group_may_write_to(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o700)
    (tmp_path / "log").chmod(0o775)
    strangers(tmp_path / "log" / "a", tmp_path)
    with pytest.raises(PermissionError):
        append(tmp_path / "log" / "a")
    (tmp_path / "log").chmod(0o755)
    append(tmp_path / "log" / "a")


def test_our_own_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a").symlink_to("real/../b")
    (tmp_path / "b").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "log").symlink_to("file")
    append(tmp_path / "a" / ".." / "a" / "." / "log")
    assert (tmp_path / "real" / "file").read_bytes() == b"x"


def test_loops_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="levels of symbolic links"):
        append(tmp_path / "a")


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_the_process_has_open_already(path: str, tmp_path: Path) -> None:
    script = (
        f"import os; from proxy.config.guarded_files import open_for_writing as to; os.write(to({path!r}, 1, 0), b'x')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment(), check=False)
    assert (done.stdout, done.stderr) == (b"x", b"")
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", script], stdout=file, env=environment(), check=True)
    assert (tmp_path / "out").read_bytes() == b"x"


def test_a_pipe_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        append(tmp_path / "pipe")
    os.close(open_for_reading(str(tmp_path / "pipe")))


def test_private_files_are_private_also_where_they_were_not(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    path.write_bytes(b"something longer")
    path.chmod(0o644)
    write_private(str(path), b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="levels of symbolic links"):
        write_private(str(tmp_path / "link"), b"other")
    assert path.read_bytes() == b"new"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set"
    replace_file(str(path), b"one", 1000.0)
    assert (path.read_bytes(), path.stat().st_mtime, stat.S_IMODE(path.stat().st_mode)) == (b"one", 1000.0, 0o600)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        replace_file(str(path), b"two", 2000.0)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("set", b"one")]


@as_root
def test_what_root_makes_in_a_users_folder_is_that_users(theirs: Path) -> None:
    make_folder(str(theirs / "state" / "sets"))
    replace_file(str(theirs / "state" / "sets" / "a"), b"x", 0)
    for path in (theirs / "state", theirs / "state" / "sets", theirs / "state" / "sets" / "a"):
        assert path.stat().st_uid == NOBODY


@as_root
@pytest.mark.parametrize("attack", [link, second_name, pipe, strangers])
def test_only_what_is_ours_is_given_away(theirs: Path, treasure: Path, attack: Attack) -> None:
    attack(theirs / "log", treasure)
    before = os.lstat(theirs / "log").st_uid
    with pytest.raises(OSError, match=r"."):
        give_away(str(theirs / "log"), NOBODY, NOBODY)
    assert (os.lstat(theirs / "log").st_uid, treasure.stat().st_uid) == (before, 0)


@as_root
def test_what_was_given_away_before_may_be_given_again(theirs: Path) -> None:
    (theirs / "log").write_bytes(b"")
    for _ in range(2):
        give_away(str(theirs / "log"), NOBODY, NOBODY)
        assert (theirs / "log").stat().st_uid == NOBODY


@as_root
def test_whether_the_way_is_certain(theirs: Path, tmp_path: Path) -> None:
    (theirs / "ours").mkdir()
    for folder, certain, shared in ((tmp_path, True, False), (theirs, False, True), (theirs / "ours", False, False)):
        with reach(f"{folder}/sock", to_link=True) as spot:
            assert (spot.certain, spot.shared) == (certain, shared)


@given(st.text(max_size=30))
def test_any_path_is_an_end_or_an_error(path: str) -> None:
    try:
        with reach(path) as spot:
            assert "/" not in spot.name
    except (OSError, ValueError):
        pass
