"""The file without a name: what goes in comes out, nobody else sees it, and it leaves nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.budget import Party
from proxy.net.large_bodies import PIECE_BYTES, SpillFile, SpillSpace


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=20))
def test_what_goes_in_comes_out(pieces: list[bytes]) -> None:
    spill = SpillFile(SpillSpace(1 << 30))
    for piece in pieces:
        spill.write(piece)
    assert spill.size == sum(map(len, pieces))
    assert b"".join(spill.pieces()) == b"".join(pieces)
    spill.close()


def test_it_comes_out_in_pieces_that_a_transport_likes(tmp_path: Path) -> None:
    spill = SpillFile(SpillSpace(1 << 30), str(tmp_path))
    spill.write(b"x" * (2 * PIECE_BYTES + 1))
    assert [len(piece) for piece in spill.pieces()] == [PIECE_BYTES, PIECE_BYTES, 1]
    spill.close()


def test_it_has_no_name_and_is_ours_alone(tmp_path: Path) -> None:
    spill = SpillFile(SpillSpace(1 << 30), str(tmp_path))
    spill.write(b"secret")
    assert list(tmp_path.iterdir()) == []
    assert spill._file is not None
    status = os.fstat(spill._file.fileno())
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_nlink == 0
    spill.close()


def test_nothing_is_made_before_the_first_byte_and_closing_twice_does_no_harm() -> None:
    spill = SpillFile(SpillSpace(1 << 30), "/nowhere/at/all")
    assert list(spill.pieces()) == []
    spill.close()
    with pytest.raises(OSError, match="nowhere"):
        spill.write(b"x")
    spill.close()


def test_a_full_disk_shows_where_it_is_written() -> None:
    """Not later, when the verdict has fallen or everything is being given back."""
    spill = SpillFile(SpillSpace(1 << 30))
    spill.write(b"x")
    assert spill._file is not None
    spill._file.close()
    with Path("/dev/full").open("r+b", buffering=0) as full:
        spill._file = full
        with pytest.raises(OSError, match="No space left"):
            spill.write(b"y")
        spill.close()


def test_a_short_write_is_written_on() -> None:
    class Short:
        def __init__(self) -> None:
            self.content = b""

        def write(self, data: memoryview) -> int:
            self.content += bytes(data[:3])
            return min(3, len(data))

    spill = SpillFile(SpillSpace(1 << 30))
    spill._file = short = Short()  # type: ignore[assignment]
    spill.write(b"0123456789")
    assert short.content == b"0123456789"
    spill._file = None


def test_all_together_have_a_bound_and_give_back_what_they_took() -> None:
    space = SpillSpace(10)
    first, second = SpillFile(space), SpillFile(space)
    first.write(b"123456")
    second.write(b"1234")
    with pytest.raises(OSError, match="as much as they may"):
        second.write(b"5")
    assert b"".join(second.pieces()) == b"1234", "nothing of what found no room was written"
    first.close()
    second.write(b"567890")
    for _ in range(2):
        first.close()
        second.close()
    assert space.used == 0


def test_what_the_disk_refused_is_given_back_as_well() -> None:
    space = SpillSpace(10)
    spill = SpillFile(space, "/nowhere/at/all")
    with pytest.raises(OSError, match="nowhere"):
        spill.write(b"12345")
    spill.close()
    assert space.used == 0


def test_a_group_of_addresses_has_a_share_and_its_only_file_all_that_is_left() -> None:
    space = SpillSpace(80)
    mine, more, other = SpillFile(space), SpillFile(space), SpillFile(space)
    mine.party = more.party = Party((4, 1))
    other.party = Party((4, 2))
    mine.write(bytes(30))
    with pytest.raises(OSError, match="as much as they may"):
        more.write(b"x")
    with pytest.raises(OSError, match="as much as they may"):
        other.write(bytes(51))
    other.write(bytes(50))
    mine.close()
    for _ in range(5):
        more.write(bytes(2))
    mine.write(b"")
    for spill in (mine, more, other):
        spill.close()
    assert (space.used, space._groups) == (0, {})


def test_strangers_leave_a_share_of_the_disk() -> None:
    space = SpillSpace(100, strangers=80)
    strange, listed = SpillFile(space), SpillFile(space)
    strange.party = Party(None, listed=False)
    strange.write(bytes(80))
    with pytest.raises(OSError, match="as much as they may"):
        strange.write(b"x")
    listed.write(bytes(20))
    space.use(100)
    listed.close()
    strange.write(bytes(20))
    strange.close()


@pytest.mark.parametrize("folder", [True, False])
def test_another_reads_beside_it_and_after_it(tmp_path: Path, folder: bool) -> None:
    spill = SpillFile(SpillSpace(1 << 30), str(tmp_path) if folder else None)
    content = b"x" * PIECE_BYTES + b"y" * 10
    spill.write(content)
    shared = spill.share()
    ours, theirs = spill.pieces(), shared.pieces()
    assert next(theirs) == next(ours) == b"x" * PIECE_BYTES
    assert next(ours) == b"y" * 10, "neither moves the other"
    spill.close()
    assert b"".join(theirs) == b"y" * 10
    if shared.link(str(tmp_path / "named")):
        assert (tmp_path / "named").read_bytes() == content
    shared.close()


def test_without_a_folder_of_its_own_it_lies_where_temporary_files_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setenv("TEMP", str(tmp_path))
    spill = SpillFile(SpillSpace(1 << 30))
    spill.write(b"x")
    assert spill._file is not None
    assert os.fstat(spill._file.fileno()).st_dev == tmp_path.stat().st_dev
    assert str(tmp_path) in str(Path(f"/proc/self/fd/{spill._file.fileno()}").readlink())
    spill.close()


@pytest.mark.parametrize("folder", [True, False])
def test_where_no_file_is_nameless_it_loses_its_name_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("proxy.net.large_bodies._NAMELESS", os.O_RDWR)  # of a folder: refused, as by other file systems
    spill = SpillFile(SpillSpace(1 << 30), str(tmp_path) if folder else None)
    spill.write(b"secret")
    assert list(tmp_path.iterdir()) == []
    assert spill._file is not None
    status = os.fstat(spill._file.fileno())
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 0)
    assert not spill.link(str(tmp_path / "kept"))
    spill.close()


def test_where_no_folder_takes_a_file_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.net.large_bodies._FOLDERS", ("/nowhere/at/all",))
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    spill = SpillFile(SpillSpace(1 << 30))
    with pytest.raises(OSError, match="nowhere"):
        spill.write(b"x")
    spill.close()
