from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.secret_files import MAX_SECRET_BYTES, FoundSecret, may_be_shown, read_bounded, read_reference
from proxy.errors import Mistake


def put(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return f"file:{path}"


def read(reference: str, **environ: str) -> FoundSecret:
    return read_reference(reference, "", environ)


@pytest.mark.parametrize(
    ("content", "value", "notes"),
    [
        (b"abc", b"abc", []),
        (b"abc\n", b"abc", ["newline was removed"]),
        (b"abc\r\n", b"abc", ["newline was removed"]),
        (b"abc\n\n", b"abc\n", ["newline was removed", "begins or ends with a blank"]),
        (b" abc", b" abc", ["begins or ends with a blank"]),
        (b"\x00\xff", b"\x00\xff", []),
        (b"x" * MAX_SECRET_BYTES, b"x" * MAX_SECRET_BYTES, []),
    ],
)
def test_files(tmp_path: Path, content: bytes, value: bytes, notes: list[str]) -> None:
    found = read(put(tmp_path, content))
    assert found.value == value
    assert len(found.notes) == len(notes)
    assert all(word in note for word, note in zip(notes, found.notes, strict=True))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_what_others_may_read_is_said(tmp_path: Path, mode: int) -> None:
    reference = put(tmp_path, b"abc", mode)
    if os.geteuid() == 0:
        os.chown(tmp_path / "secret", 65534, -1)
    [note] = read(reference).notes
    assert f"{mode:04o}" in note
    assert "chmod 600" in note


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can own files as root")
@pytest.mark.parametrize(
    ("mode", "said"), [(0o640, False), (0o440, False), (0o660, True), (0o644, True), (0o610, True)]
)
def test_a_group_may_read_what_root_alone_may_write(tmp_path: Path, mode: int, said: bool) -> None:
    notes = read(put(tmp_path, b"abc", mode)).notes
    assert [("chmod 640" in note, f"{mode:04o}" in note) for note in notes] == [(True, True)] * said


def test_links_are_followed_as_kubernetes_makes_them(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    put(tmp_path / "..data", b"abc")
    (tmp_path / "link").symlink_to("..data/secret")
    assert read(f"file:{tmp_path}/link").value == b"abc"


def test_relative_paths_start_from_the_base(tmp_path: Path) -> None:
    put(tmp_path, b"abc")
    assert read_reference("file:secret", str(tmp_path), {}).value == b"abc"


def test_variables_are_taken_as_they_are() -> None:
    assert read("env:A", A="abc\n").value == b"abc\n"
    assert read("env:A", A=os.fsdecode(b"\xff")).value == b"\xff"


def test_credentials(tmp_path: Path) -> None:
    put(tmp_path, b"abc")
    assert read("cred:secret", CREDENTIALS_DIRECTORY=str(tmp_path)).value == b"abc"


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "empty"), (b"\n", "empty"), (b"x" * (MAX_SECRET_BYTES + 1), "larger than 64KiB")]
)
def test_files_that_hold_no_secret(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(Mistake, match=what):
        read(put(tmp_path, content))


@pytest.mark.parametrize(
    ("reference", "environ", "what"),
    [
        ("file:/nowhere/hunter2", {}, "does not exist"),
        ("file:/dev/null/hunter2", {}, "goes through a file"),
        ("file:/", {}, "cannot be read"),
        ("file:/dev/zero", {}, "cannot be read"),
        ("file:hunter2\0", {}, "NUL"),
        ("env:hunter2", {}, "no environment variable"),
        ("env:hunter2", {"hunter2": ""}, "empty"),
        ("env:hunter-2", {}, "not the name"),
        ("cred:hunter2", {}, "no credentials directory"),
        ("cred:hunter2", {"CREDENTIALS_DIRECTORY": "/nowhere"}, "does not exist"),
        ("cred:../hunter2", {"CREDENTIALS_DIRECTORY": "/etc"}, "not the name"),
        ("cred:.hunter2", {"CREDENTIALS_DIRECTORY": "/etc"}, "not the name"),
    ],
)
def test_references_that_lead_nowhere(reference: str, environ: dict[str, str], what: str) -> None:
    with pytest.raises(Mistake, match=what) as caught:
        read(reference, **environ)
    assert "hunter" not in caught.value.what + caught.value.mend


def test_a_fifo_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Mistake, match="cannot be read"):
        read(f"file:{tmp_path}/fifo")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link for another user")
def test_a_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"abc")
    (tmp_path / "mine").chmod(0o600)
    (tmp_path / "theirs").symlink_to("mine")
    os.lchown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(Mistake, match="another user made"):
        read(f"file:{tmp_path}/theirs")


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(Mistake, match="loop"):
        read(f"file:{tmp_path}/a")


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("file:/etc/hookward-nowhere/github.secret", True),  # /etc is there
        ("file:/no-such-place/hunter2", False),
        ("file:/no-such-place/github", True),
        ("file:/no-such-place/2026-q4.secret", True),
        ("file:no-such-place/github", False),
        ("file:/Hunter2+abc/def==", False),  # base64 may begin so
        ("file:github.secret", True),
        ("file:hunter2", False),
        ("file:" + "hunter2" * 50, False),  # too long for a name
        ("file:sk_live_4711", False),
        ("file:eyJhbGciOi.eyJzdWIi.c2ln", False),
        ("env:GITHUB_SECRET", True),
        ("env:OLD_SECRET_2026", True),
        ("env:hunter2", False),
        ("env:DEADBEEF4711CAFE0815", False),
        ("env:AKIAIOSFODNN7EXAMPLE", False),
        ("cred:hunter2", False),
    ],
)
def test_what_is_no_secret_by_mistake_is_named(reference: str, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/var/tmp")
    assert may_be_shown(reference) is shown
    with pytest.raises(Mistake) as caught:
        read(reference)
    assert (reference.partition(":")[2] in caught.value.what + caught.value.mend) is shown


def test_the_command_that_mends_it_is_there(tmp_path: Path) -> None:
    with pytest.raises(Mistake) as caught:
        read_reference(f"file:{tmp_path}/new.secret", "", {}, "make it with `hookward gen-secret github --out FILE`")
    assert f"`hookward gen-secret github --out {tmp_path}/new.secret`" in caught.value.mend
    with pytest.raises(Mistake, match="is a folder"):
        read(f"file:{tmp_path}")
    with pytest.raises(Mistake) as caught:
        read(put(tmp_path, b""))
    assert caught.value.mend.startswith(f"remove it (rm {tmp_path}/secret), and make it with `hookward gen-secret")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="may not be read"):
        read(put(tmp_path, b"abc", 0o000))


def test_reads_no_more_than_asked(tmp_path: Path) -> None:
    put(tmp_path, b"x" * 100)
    assert read_bounded(str(tmp_path / "secret"), 10)[0] == b"x" * 11


def test_the_value_is_not_in_repr() -> None:
    assert "hunter2" not in repr(read("env:A", A="hunter2"))


@given(st.text(max_size=30))
def test_junk_raises_mistakes_only(text: str) -> None:
    for prefix in ("file:", "env:", "cred:"):
        with contextlib.suppress(Mistake):
            read_reference(prefix + text, "/nowhere", {"CREDENTIALS_DIRECTORY": "/nowhere"})
