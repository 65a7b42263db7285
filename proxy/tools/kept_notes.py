"""What ``check`` says of the deliveries that are kept on this host: those whose route keeps no more."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from proxy.config.settings import Loaded
from proxy.queue.folder import DATABASE, look_at_ours
from proxy.queue.records import LaneCount
from proxy.queue.strays import stray_notes


def kept_notes(loaded: Loaded) -> list[str]:
    """The notes on what is kept, where it is the effective user's to see."""
    queue = loaded.settings.queue
    if queue is None or queue.path is None:
        return []
    try:
        look_at_ours(Path(queue.path))
        counts = _counts(Path(queue.path) / DATABASE)
    except (OSError, sqlite3.Error):
        return []  # whether it can be used at all is another's to say
    return list(stray_notes(counts, loaded.policy, loaded.settings.config_path))


def _counts(database: Path) -> list[LaneCount]:
    place = f"file:{quote(str(database.absolute()))}?mode=ro"
    with closing(sqlite3.connect(place, uri=True)) as connection:
        rows = connection.execute("SELECT lane, live, dead FROM lanes ORDER BY lane").fetchall()
    return [LaneCount(lane, live, dead) for lane, live, dead in rows]
