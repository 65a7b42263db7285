"""The file that keeps deliveries over restarts: within its bounds, masked, and never waited for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.notation import ListenAddress
from proxy.config.settings import ConsoleSettings
from proxy.console import copies
from proxy.console.copies import DeliveryFile, StoreFailedError
from proxy.console.kept import Maskings
from proxy.core.search import parse_query
from tests.console.asking import delivery, token
from tests.console.kept import NOW, SECRET, keep, post, signed_route
from tests.console.test_document import judge
from tests.whole.process import Hookward
from tests.whole.wire import once

Start = Callable[..., Hookward]
ROUTE = signed_route()
PROOF = b"sha256=" + b"0" * 64


def opened(path: Path, *, keep: int = 1000, keep_bytes: int = 1 << 30, age: float = 1e9) -> DeliveryFile:
    settings = ConsoleSettings(ListenAddress(), keep, keep_bytes, str(path), age)
    return DeliveryFile(settings, Maskings(), lambda: NOW + 1000, print)


def fill(path: Path, count: int, **bounds: float) -> None:
    file = opened(path, **bounds)
    for number in range(1, count + 1):
        head, body = post(b"/hook", {b"X-Hub-Signature-256": PROOF}, b"number %d, %b" % (number, SECRET))
        file.add(keep(head, body, number, route=ROUTE, status=200))
    file.close()
    assert file.skipped == 0


def ids(path: Path, words: str = "", limit: int = 100, before: str = "") -> list[int]:
    file = opened(path)
    found = file.search(parse_query(words, NOW), limit, before)
    file.close()
    for row in found:
        judge(row, "Summary")
    return [int(str(row["id"]).rpartition("-")[2], 16) for row in found]


def test_what_was_written_is_found_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite3"
    fill(path, 30)
    assert path.stat().st_mode & 0o777 == 0o600
    assert ids(path)[:3] == [30, 29, 28]
    assert ids(path, '"number 7,"') == [7]
    assert ids(path, "route:other") == []
    file = opened(path)
    last = file.search(parse_query("", NOW), 1, "")[0]["id"]
    assert ids(path, limit=2, before=str(last)) == [29, 28]
    found = file.find(str(last))
    judge(found, "Delivery")
    assert file.find("none") is None
    file.close()


def test_no_secret_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite3"
    fill(path, 3)
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        assert SECRET not in data
        assert PROOF[7:] not in data


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [({"keep": 10}, range(21, 31)), ({"keep_bytes": 6000}, None), ({"age": 985.0}, range(15, 31))],
    ids=["count", "bytes", "age"],
)
def test_its_bounds(
    tmp_path: Path, bounds: dict[str, float], kept: range | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "TIDY_LEAST", 1)
    path = tmp_path / "kept.sqlite3"
    fill(path, 30, **bounds)
    found = ids(path)
    if kept is not None:
        assert sorted(found) == list(kept)
    else:
        assert 1 <= len(found) < 10
        assert found[0] == 30


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "folder", tmp_path):
        with pytest.raises(StoreFailedError):
            opened(path)
    (tmp_path / "text").write_text("no database, and longer than a header of one would be" * 9)
    with pytest.raises(StoreFailedError):
        opened(tmp_path / "text")
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreFailedError, match="newer hookward"):
        opened(newer)


def test_a_disk_that_takes_nothing_is_said_once_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = opened(tmp_path / "kept")

    def full(_path: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(copies, "_connect", full)
    monkeypatch.setattr(copies, "BATCH", 1)
    for number in range(1, 6):
        file.add(keep(*post(), number=number))
    file.close()
    assert file.skipped == 5
    assert capsys.readouterr().out.count("disk is full") == 1


def test_a_writer_that_is_behind_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MAX_WAITING", 3)
    monkeypatch.setattr(DeliveryFile, "_run", lambda _self: None)
    file = opened(tmp_path / "kept")
    for number in range(1, 10):
        file.add(keep(*post(), number=number))
    assert file.skipped == 6


def test_a_restart_forgets_nothing(begin: Start, tmp_path: Path) -> None:
    more = f'store = "{tmp_path}/kept.sqlite3"'
    hookward = begin(console=more)
    once(hookward.address, delivery(name="d-1"))
    [row] = token(hookward).get("deliveries")["deliveries"]
    hookward.stop()
    again = begin(console=more)
    once(again.address, delivery(name="d-2"))
    visitor = token(again)
    assert [one["delivery_id"] for one in visitor.get("deliveries")["deliveries"]] == ["d-2", "d-1"]
    assert [one["delivery_id"] for one in visitor.get("deliveries?q=needle&limit=1&after=~")["deliveries"]] == ["d-2"]
    shown = visitor.get(f"deliveries/{row['id']}")
    assert (shown["delivery_id"], shown["whole"], shown["checks"]) == ("d-1", False, [])
    assert visitor.post(f"deliveries/{row['id']}/replay").status == 409, "it is masked"
    assert visitor.post("deliveries/none/replay").status == 404
    assert (tmp_path / "kept.sqlite3").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_used_ends_the_start(begin: Start) -> None:
    with pytest.raises(AssertionError, match="/nowhere/kept cannot be used"):
        begin(console='store = "/nowhere/kept"')
