"""Where listings rest: dated copies inside the package, and the last good copy of each feed in the state directory.

A stored copy is written whole and renamed into place, so that a reader sees the old or the new one. Its time of
modification says when the feed last confirmed it. What is read back is judged like a feed: a damaged file is as good
as none. This module never fetches and never decides which copy is used.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
from pathlib import Path
from typing import Any

from proxy.config.guarded_files import make_folder, reach, replace_file
from proxy.config.secret_files import read_bounded
from proxy.config.settings import Feed
from proxy.core.ip_sets import AddressListing, FeedError, dump_groups, load_groups
from proxy.values import frozen

FOLDER = "ip-sets"
_MAX_BYTES = 64 * 1024 * 1024
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9._]{1,64}")
#: What reads files of the package, a folder or an archive. (``importlib.resources`` would import compression.)
_LOADER: Any = __spec__.loader
_COPIES = os.path.join(os.path.dirname(__file__), "ip_sets")  # noqa: PTH118, PTH120 - in an archive it is no path


@frozen
class Copy:
    """A listing and what is known of its origin. ``confirmed`` is in seconds since the epoch."""

    listing: AddressListing
    confirmed: float
    origin: str  # "snapshot" or "feed"
    etag: str = ""
    last_modified: str = ""


def read_snapshot(feed: Feed) -> Copy | None:
    """The copy of a list of ours that came with this version, or None."""
    if not feed.built_in:
        return None
    try:
        value = json.loads(_LOADER.get_data(os.path.join(_COPIES, f"{feed.name}.json")))  # noqa: PTH118 - no path in an archive
    except OSError:  # not every list comes with a copy
        return None
    date = dt.date.fromisoformat(value["date"])
    confirmed = dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC).timestamp()
    return Copy(load_groups(value["groups"]), confirmed, "snapshot")


def stored_path(state_dir: str, feed: Feed) -> Path:
    """Where the last good copy of a list is."""
    if not _NAME.fullmatch(feed.name):
        raise FeedError(f"{feed.name[:64]!r} cannot be the name of a file")
    return Path(state_dir, FOLDER, f"{feed.name}.json")


def stored_confirmed(state_dir: str, feed: Feed) -> float:
    """When the stored copy was last confirmed, in seconds since the epoch; 0 where there is none."""
    with contextlib.suppress(OSError, FeedError):
        return stored_path(state_dir, feed).stat().st_mtime
    return 0.0


def read_stored(state_dir: str, feed: Feed) -> Copy | None:
    """The last good copy of a list, or None. FeedError where there is one that cannot be used."""
    path = stored_path(state_dir, feed)
    try:
        confirmed = path.stat().st_mtime
        data, _ = read_bounded(str(path), _MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FeedError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _parse_stored(data, feed, confirmed)
    except FeedError as error:
        raise FeedError(f"{path} is damaged: {error}") from None


def _parse_stored(data: bytes, feed: Feed, confirmed: float) -> Copy | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise FeedError("it is not JSON") from None
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise FeedError("it has another form")
    if (value.get("url"), value.get("path")) != (feed.url, feed.path):
        return None  # of another feed that had this name
    listing = load_groups(value.get("groups"))
    return Copy(listing, confirmed, "feed", str(value.get("etag", "")), str(value.get("last_modified", "")))


def write_stored(state_dir: str, feed: Feed, copy: Copy) -> None:
    """Keep ``copy`` as the last good one. OSError where that fails, and then the old one is still there."""
    path = stored_path(state_dir, feed)
    make_folder(str(path.parent))
    value = {
        "format": _FORMAT,
        "url": feed.url,
        "path": feed.path,
        "etag": copy.etag,
        "last_modified": copy.last_modified,
        "groups": dump_groups(copy.listing),
    }
    replace_file(str(path), json.dumps(value).encode(), copy.confirmed)


def confirm_stored(state_dir: str, feed: Feed, copy: Copy) -> None:
    """The feed has said that ``copy`` still holds. OSError where that cannot be noted."""
    try:
        with reach(str(stored_path(state_dir, feed)), to_link=True) as spot:
            times = (copy.confirmed, copy.confirmed)
            os.utime(spot.name, times, dir_fd=spot.folder, follow_symlinks=False)
    except FileNotFoundError:
        write_stored(state_dir, feed, copy)
