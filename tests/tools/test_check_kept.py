"""What ``check`` says of kept deliveries whose route keeps no more."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from proxy.config.load import load
from proxy.config.problems import rule_of
from proxy.queue.database import open_database
from proxy.tools.check import kept_notes

CONFIG = """
listen = ["127.0.0.1:8080"]
upstream = "http://127.0.0.1:8000"
state_dir = "{folder}"
[route.direct]
path = "/direct"
allow = ["127.0.0.1"]
[route.kept]
path = "/kept"
allow = ["127.0.0.1"]
deliver = "queue"
"""


def told(folder: Path) -> list[str]:
    path = folder / "hookward.toml"
    path.write_text(CONFIG.format(folder=folder))
    return [rule_of(one) for one in kept_notes(load(["--config", str(path)], {}))]


def test_each_lane_without_a_route_that_keeps_is_told(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    queue = tmp_path / "queue"
    queue.mkdir(mode=0o700)
    with closing(open_database(queue / "queue.sqlite3")) as database:
        for lane in ("direct", "gone", "kept"):
            database.execute("INSERT INTO lanes (lane, live) VALUES (?, 1)", (lane,))
    assert told(tmp_path) == ["H602", "H601"]
    assert [one for one in queue.iterdir() if not one.name.startswith("queue.sqlite3")] == []


def test_what_is_no_store_is_anothers_to_tell(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir(mode=0o700)
    (tmp_path / "queue" / "queue.sqlite3").write_bytes(b"nothing of ours")
    assert told(tmp_path) == []
