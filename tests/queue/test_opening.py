"""What a running process is asked of its queue, and how one process rings for the courier of another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from proxy.http1 import Framing, RequestHead
from proxy.net.http_server import Answer, Caller, Request
from proxy.queue.opening import BELL_NAME, Bell, QueueDesk
from proxy.queue.records import QueueStore
from tests.queue.conformance import parcel
from tests.queue.test_sqlite_store import with_store

HEAD = RequestHead(b"POST", b"/", 1, [], [], b"/", None, b"x", Framing.NONE, None, True, False, {})


def test_what_waits_is_listed_changed_and_paused(tmp_path: Path) -> None:
    rung = []

    async def action(store: QueueStore) -> None:
        await store.append([parcel("a"), parcel("b", "other"), parcel("c", body=b"x" * 2000)])
        places = QueueDesk(store, lambda: rung.append(1), lambda: 1e9, "hook".__eq__).places

        async def ask(place: str, **content: object) -> tuple[int, Any]:
            found = places[place](Request(HEAD, json.dumps(content).encode(), Caller("unix:"), None))
            answer = found if isinstance(found, Answer) else await found
            return answer.status, json.loads(answer.content) if answer.status == 200 else answer.content

        status, found = await ask("POST /queue/list", q="", limit=2)
        assert (status, [one["id"] for one in found["records"]], found["next"]) == (200, ["a", "b"], "b")
        assert "head" not in found["records"][0]
        assert {lane["route"]: lane["waiting"] for lane in found["routes"]} == {"hook": 2, "other": 1}
        _, found = await ask("POST /queue/list", q="", limit=2, after="b")
        assert ([one["id"] for one in found["records"]], found["next"]) == (["c"], None)
        _, found = await ask("POST /queue/list", q="size>1k")
        assert [one["id"] for one in found["records"]] == ["c"]
        assert (await ask("POST /queue/list", q="nope:x"))[0] == 400
        assert await ask("POST /queue/drop", ids=["a"]) == (200, {"changed": 1})
        assert (await ask("POST /queue/drop", ids=["a"]))[0] == 404
        assert (await ask("POST /queue/replay"))[0] == 404
        assert (await ask("POST /queue/pause", route="direct"))[0] == 404
        assert (await ask("POST /queue/pause", route="hook"))[0] == 200
        assert await ask("POST /queue/paused", routes=["hook", "direct"]) == (200, {"hook": True})
        assert (await ask("POST /queue/resume", route="hook"))[0] == 200
        assert await ask("POST /queue/paused", routes=["hook"]) == (200, {"hook": False})
        assert await ask("POST /queue/paused") == (200, {})

    with_store(tmp_path / "queue", action)
    assert len(rung) == 3


def test_the_courier_hears_it(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)  # longer than the name of a unix socket may be
    deep.mkdir(parents=True)

    async def run() -> None:
        heard = asyncio.Event()
        courier, other = Bell(deep), Bell(deep)
        other.ring()  # with none to hear it
        courier.answer(asyncio.get_running_loop(), heard.set)
        assert (deep / BELL_NAME).stat().st_mode & 0o777 == 0o600
        other.ring()
        async with asyncio.timeout(10):
            await heard.wait()
        await courier.close()
        other.ring()
        await other.close()
        assert not (deep / BELL_NAME).exists()

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(run())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
