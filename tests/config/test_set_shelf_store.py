"""Copies in the package and in the state directory: written whole, judged when read."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import set_shelf
from proxy.config.set_shelf import (
    FEEDS,
    Copy,
    confirm_stored,
    feed_of,
    read_snapshot,
    read_stored,
    stored_confirmed,
    stored_path,
    write_stored,
)
from proxy.config.settings import Feed, IpSet
from proxy.core.ip_sets import FeedError, listing_of

FEED = Feed("office", "https://example.com/", None, built_in=False)
COPY = Copy(
    listing_of({(("region", ("eu",)),): ["192.0.2.0/24", "2001:db8::/32"]}), 1_795_000_000.0, "feed", '"v1"', "then"
)
SNAPSHOTS = sorted(path.stem for path in Path(set_shelf.__file__).with_name("ip_sets").glob("*.json"))


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_packaged_copy_is_good_and_has_a_date(name: str):
    copy = read_snapshot(FEEDS[name])
    assert copy is not None
    assert copy.origin == "snapshot"
    assert dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp() < copy.confirmed
    value = json.loads(Path(set_shelf.__file__).with_name("ip_sets").joinpath(f"{name}.json").read_text())
    assert value["name"] == name
    assert value["basis"]


def test_lists_without_a_feed_have_a_packaged_copy_or_a_note():
    assert {name for name, feed in FEEDS.items() if not feed.url} - set(SNAPSHOTS) == {"azure", "zendesk"}


def test_the_documented_addresses_of_github_and_gitlab():
    github, gitlab = read_snapshot(FEEDS["github"]), read_snapshot(FEEDS["gitlab"])
    assert github is not None
    assert gitlab is not None
    assert github.listing.prefixes >= {
        "192.30.252.0/22", "185.199.108.0/22", "140.82.112.0/20", "143.55.64.0/20", "2a0a:a440::/29", "2606:50c0::/32",
    }  # fmt: skip
    assert gitlab.listing.prefixes == {"34.74.90.64/28", "34.74.226.0/24"}


def test_a_list_of_ones_own_has_no_packaged_copy():
    assert read_snapshot(FEED) is None
    assert read_snapshot(feed_of(IpSet("github", "https://mirror.example.com/", None, 60.0))) is None
    assert read_snapshot(FEEDS["aws"]) is None


def test_what_is_written_is_read(tmp_path: Path):
    assert read_stored(str(tmp_path), FEED) is None
    assert stored_confirmed(str(tmp_path), FEED) == 0
    write_stored(str(tmp_path / "deep" / "er"), FEED, COPY)
    folder = str(tmp_path / "deep" / "er")
    assert read_stored(folder, FEED) == COPY
    assert stored_confirmed(folder, FEED) == COPY.confirmed
    path = stored_path(folder, FEED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["office.json"]


def test_another_feed_of_that_name_is_not_this_list(tmp_path: Path):
    write_stored(str(tmp_path), FEED, COPY)
    assert read_stored(str(tmp_path), Feed("office", "https://example.org/", None)) is None
    assert read_stored(str(tmp_path), Feed("office", FEED.url, None, path="a[]")) is None


def test_a_write_that_fails_leaves_the_old_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_stored(str(tmp_path), FEED, COPY)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_stored(str(tmp_path), FEED, Copy(listing_of({(): ["203.0.113.1"]}), 2.0, "feed"))
    assert read_stored(str(tmp_path), FEED) == COPY
    assert [file.name for file in (tmp_path / "ip-sets").iterdir()] == ["office.json"]


def test_a_confirmation_moves_the_date_alone(tmp_path: Path):
    write_stored(str(tmp_path), FEED, COPY)
    before = stored_path(str(tmp_path), FEED).read_bytes()
    later = Copy(COPY.listing, COPY.confirmed + 60, "feed")
    confirm_stored(str(tmp_path), FEED, later)
    assert stored_confirmed(str(tmp_path), FEED) == later.confirmed
    assert stored_path(str(tmp_path), FEED).read_bytes() == before
    stored_path(str(tmp_path), FEED).unlink()
    confirm_stored(str(tmp_path), FEED, COPY)
    assert read_stored(str(tmp_path), FEED) == COPY


def test_the_name_of_a_list_is_the_name_of_a_file(tmp_path: Path):
    for name in ("../x", "a/b", "", "A", "x" * 65):
        with pytest.raises(FeedError):
            stored_path(str(tmp_path), Feed(name, "", None))
    assert stored_confirmed(str(tmp_path), Feed("../x", "", None)) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "url": "https://example.com/", "path": ""}',
        b'{"format": 1, "url": "https://example.com/", "path": "", "groups": [{"prefixes": ["0.0.0.0/0"]}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_copy_is_said_and_not_used(tmp_path: Path, data: bytes):
    path = stored_path(str(tmp_path), FEED)
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(FeedError, match="is damaged"):
        read_stored(str(tmp_path), FEED)


def test_what_is_no_file_is_said(tmp_path: Path):
    stored_path(str(tmp_path), FEED).mkdir(parents=True)
    with pytest.raises(FeedError, match="cannot be read"):
        read_stored(str(tmp_path), FEED)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_copy_or_a_feed_error(data: bytes):
    with contextlib.suppress(FeedError):
        set_shelf._parse_stored(data, FEED, 1.0)
