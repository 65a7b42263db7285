"""No statement on the way of a delivery looks through all that is kept: each goes by an index."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from proxy.queue import statements as sql
from proxy.queue.layout import open_database

ONE_BY_ONE = {
    "TAKE": ("hook", 0.0, 1),
    "GIVE_BACK": (1,),
    "TAKEN": ("hook",),
    "SAME": ("hook", "x"),
    "IS_BEHIND": ("hook", "x"),
    "IS_BEHIND_OTHER": ("hook", "x", 1),
    "LET_NEXT": ("hook", "x"),
    "SETTLE": (0, 0.0, 1, 1),
    "REPLAY": (0, 0.0, 0.0, 1),
    "HAS_ID": ("a",),
    "NEXT_DUE": ("hook",),
    "TRIES": (1,),
}
#: Those that end with a list of numbers.
FOR_MANY = ("SET_TAKEN", "ROWS", "DELETE", "DELETE_TRIES")


@pytest.mark.parametrize("name", [*ONE_BY_ONE, *FOR_MANY])
def test_it_goes_by_an_index(name: str, tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "queue.sqlite3")) as database:
        statement, values = getattr(sql, name), ONE_BY_ONE.get(name, (1, 2))
        numbers = " (?, ?)" if name in FOR_MANY else ""
        plan = database.execute(f"EXPLAIN QUERY PLAN {statement}{numbers}", values).fetchall()
    steps = [step for *_, step in plan]
    assert not [step for step in steps if step.startswith("SCAN") and "CONSTANT" not in step], steps
