"""The parts of a worker's console, without a listener: what is handed over, looked on and asked of all workers."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.notation import ListenAddress
from proxy.config.settings import ConsoleSettings
from proxy.console import access, capture, copies, desk
from proxy.console.access import KEY_BYTES, session_key
from proxy.console.api import _positions
from proxy.console.capture import MAX_BEHIND, Capture, IntakePace, Viewer
from proxy.console.console import SparingAudit
from proxy.console.desk import Crew, Desk, TooManyViewersError
from proxy.console.replay import ANSWERED_S, PATIENCE_S
from proxy.net.http_server import Paths
from tests.console.kept import NOW, keep, post, signed_route
from tests.policies import policy

SETTINGS = ConsoleSettings(ListenAddress("127.0.0.1", 4041), keep=10, keep_bytes=1 << 20)


def run(action: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = SimpleNamespace(wall=lambda: NOW, now=loop.time)
        site: Any = SimpleNamespace(instance="aa", loop=loop, policy=policy(signed_route()), clock=clock)
        one = Desk(Capture(SETTINGS, site), site)
        try:
            async with asyncio.timeout(20):
                await action(one)
        finally:
            one.close()

    asyncio.run(main())


def add(one: Desk, number: int, **more: Any) -> str:
    kept = keep(*post(), number=number, **more)
    one.capture.seen = number
    one.capture.rings.add(kept)
    for viewer in one.capture.viewers:
        viewer.tell(kept)
    return kept.id


class TestDesk:
    def test_a_delivery_is_found_by_any_of_its_names(self) -> None:
        async def action(one: Desk) -> None:
            names = [add(one, 1, delivery_id="theirs"), "theirs", "r1"]
            assert [found.number for name in names if (found := one.find(name))] == [1, 1, 1]
            for name in ("", "none", "0-aa-1", "0-aa-zz", names[0] + "0"):
                assert one.find(name) is None

        run(action)

    def test_a_stream_begins_with_its_place_and_says_what_was_missed(self) -> None:
        async def action(one: Desk) -> None:
            for number in range(1, 15):
                add(one, number)
            async with aclosing(one.stream(one.read(""), 2)) as events:
                assert await anext(events) == {"tag": "aa", "number": 2}
                assert await anext(events) == {"missed": 2}
                assert [(await anext(events))["number"] for _ in range(10)] == list(range(5, 15))
                add(one, 15)
                assert (await anext(events))["number"] == 15
            assert not one.capture.viewers

        run(action)

    def test_what_comes_while_the_earlier_ones_are_sent_comes_once(self) -> None:
        async def action(one: Desk) -> None:
            for number in range(1, 4):
                add(one, number)
            async with aclosing(one.stream(one.read(""), 0)) as events:
                await anext(events)
                add(one, 4)
                assert [(await anext(events))["number"] for _ in range(4)] == [1, 2, 3, 4]
                add(one, 5)
                assert (await anext(events))["number"] == 5

        run(action)

    def test_what_is_not_kept_is_told_to_all_that_look_on(self) -> None:
        async def action(one: Desk) -> None:
            streams = [one.stream(one.read(""), None) for _ in range(2)]
            for events in streams:
                await anext(events)
            waiting = [asyncio.ensure_future(anext(events)) for events in streams]
            await asyncio.sleep(0)
            one.capture.skipped += 7
            add(one, 8)
            for first, events in zip(waiting, streams, strict=True):
                assert (await first)["number"] == 8
                assert await anext(events) == {"missed": 7}
                await events.aclose()

        run(action)

    def test_a_quiet_stream_says_that_it_lives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(desk, "ALIVE_S", 0.01)

        async def action(one: Desk) -> None:
            async with aclosing(one.stream(one.read(""), None)) as events:
                await anext(events)
                assert await anext(events) == {}

        run(action)

    def test_those_that_look_on_have_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(capture, "MAX_VIEWERS", 2)

        async def action(one: Desk) -> None:
            one.watch()
            one.watch()
            with pytest.raises(TooManyViewersError):
                one.watch()
            asked: Any = SimpleNamespace(content=b"{}")
            assert desk.stream_of(one, asked).status == 503
            one.capture._site.capture = one.capture
            assert desk.stream_without_console(one.capture._site, asked).status == 503

        run(action)

    def test_a_link_lets_in_once_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def action(one: Desk) -> None:
            first = one.make_link("read")
            assert (one.redeem(first), one.redeem(first), one.redeem("")) == ("read", None, None)
            monkeypatch.setattr(desk, "LINK_S", -1.0)
            assert one.redeem(one.make_link("act")) is None
            for _ in range(100):
                one.make_link("act")
            assert len(one._links) == desk.MAX_LINKS

        run(action)

    def test_a_search_gives_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(desk, "SLICE_S", -1.0)

        async def action(one: Desk) -> None:
            for number in range(1, 6):
                add(one, number)
            turns = 0

            def turn() -> None:
                nonlocal turns
                turns += 1
                asyncio.get_running_loop().call_soon(turn)

            turn()
            found: Any = await one.deliveries(one.read("nothing-is-so"), 10, "")
            assert found["deliveries"] == []
            assert turns >= 5

        run(action)


async def test_one_that_is_slow_misses_and_is_told() -> None:
    viewer = Viewer(lambda kept: kept.number % 2 == 0)
    for number in range(1, MAX_BEHIND + 11):
        viewer.tell(keep(None, number=number))
    assert viewer.take_missed() == 10
    assert viewer.take_missed() == 0
    assert [kept.number for kept in await viewer.next(4)] == [2, 4]


class TestCrew:
    def crew(self, one: Desk, path: str | None = None) -> Crew:
        async def double(asked: Any) -> Any:
            return asked["n"] * 2

        async def nothing(_asked: Any) -> Any:
            return None

        private: Any = SimpleNamespace(paths=Paths({}), process=1, path=path, siblings_folder=None)
        return Crew(one, private, {"double": double, "nothing": nothing})

    def test_alone_it_asks_itself(self) -> None:
        async def action(one: Desk) -> None:
            crew = self.crew(one)
            assert await crew.ask_all("double", n=2) == [4]
            assert await crew.ask_first("double", n=3) == 6
            assert await crew.ask_first("nothing") is None
            assert await crew.ask_here("GET", "/queue") is None

        run(action)

    def test_what_is_to_be_done_is_asked_of_one_after_the_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Several may have had a delivery of that id of the provider's, and it is replayed once."""
        asked: list[object] = []

        async def ask(self: Crew, end: object, *_: object) -> object:
            asked.append(end)
            return None if end == "a" else "done"

        async def action(one: Desk) -> None:
            monkeypatch.setattr(Crew, "_siblings", lambda _self: ["a", "b", "c"])
            monkeypatch.setattr(Crew, "_ask", ask)
            assert await self.crew(one).ask_first("nothing") == "done"
            assert asked == ["a", "b"]

        run(action)

    def test_a_replay_is_waited_for_as_long_as_it_may_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else it would be told as not kept, and be sent all the same."""
        waited: list[float] = []

        async def asked(*_: object, within_s: float) -> str:
            waited.append(within_s)
            return "done"

        async def action(one: Desk) -> None:
            monkeypatch.setattr(Crew, "_siblings", lambda _self: ["a"])
            monkeypatch.setattr(desk, "ask", asked)
            assert await self.crew(one).ask_first("nothing", ANSWERED_S) == "done"
            assert await self.crew(one).ask_first("nothing") == "done"

        run(action)
        assert waited[0] > PATIENCE_S > waited[1]

    def test_a_worker_that_was_not_ready_is_asked_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []

        async def of(end: object, *_: object) -> AsyncGenerator[dict[str, object], None]:
            asked.append(end)
            if len(asked) == 2:
                yield {"tag": "bb", "number": 0}

        async def action(one: Desk) -> None:
            monkeypatch.setattr(Crew, "_siblings", lambda _self: [SimpleNamespace(path="b")])
            monkeypatch.setattr(desk, "_of", of)
            monkeypatch.setattr(desk, "LOOK_S", 0.01)
            async with aclosing(self.crew(one).stream("", None)) as events:
                tags = [event["tag"] for _ in range(2) for event in await anext(events)]
            assert sorted(tags) == ["aa", "bb"]

        run(action)

    def test_its_stream_is_that_of_the_desk(self) -> None:
        async def action(one: Desk) -> None:
            crew = self.crew(one)
            async with aclosing(crew.stream("", None)) as events:
                assert (await anext(events))[0]["tag"] == "aa"
                add(one, 1)
                assert (await anext(events))[0]["number"] == 1

        run(action)


def test_the_key_is_one_for_all_workers_of_a_folder(tmp_path: Path) -> None:
    first = session_key(str(tmp_path))
    assert (len(first), session_key(str(tmp_path))) == (KEY_BYTES, first)
    path = tmp_path / "hookward-console.key"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    path.chmod(0o644)
    assert session_key(str(tmp_path)) != first, "others may know it"
    path.chmod(0o600)
    path.write_bytes(b"short")
    assert session_key(str(tmp_path)) != b"short"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(first)
    assert session_key(str(tmp_path)) != first
    assert session_key(None) != session_key(None)
    assert session_key(str(tmp_path / "none")) != first


def test_the_files_of_the_page_are_served_by_their_names() -> None:
    found = access.FILES
    assert found["/console.js"].kind.startswith(b"text/javascript")
    assert all(path.count("/") == 1 for path in found)


def test_a_test_is_kept_where_it_can_be(tmp_path: Path) -> None:
    kept = keep(*post(body=b"hello"))
    found = copies.keep(kept, {"name": "a"}, str(tmp_path))
    assert Path(str(found["file"])).read_bytes().endswith(b"\r\n\r\nhello")
    assert 'expect = "admitted"' in str(found["stanza"])
    for how, folder in (
        ({"name": "../a"}, str(tmp_path)),
        ({"name": 7}, str(tmp_path)),
        ({"expect": "no word\n"}, str(tmp_path)),
        ({}, None),
        ({}, str(tmp_path / "tests" / "a.http")),
    ):
        assert copies.keep(kept, how, folder)["mend"]
    assert copies.keep(keep(None, b"x"), {}, str(tmp_path))["mend"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("aa:1", {"aa": 1}),
        ("aa:1,bb:22", {"aa": 1, "bb": 22}),
        ("", None),
        ("aa", None),
        ("aa:", None),
        (":1", None),
        ("aa:-1", None),
        ("aa:9999999999999999", None),
    ],
)
def test_where_a_stream_goes_on(text: str, found: dict[str, int] | None) -> None:
    assert _positions(text) == found


def test_strangers_fill_no_log() -> None:
    lines: list[str] = []
    now = [100.0]
    sparing = SparingAudit(lines.append, lambda: now[0])
    for _ in range(1000):
        sparing.tell("refused")
        now[0] += 0.01
    assert lines[:2] == ["refused", "refused (99 more since the last line)"]
    assert 9 <= len(lines) <= 11


def test_a_flood_is_kept_in_part_and_counted() -> None:
    pace = IntakePace(500)
    assert sum(pace.takes(1000.0) for _ in range(2000)) == 500
    assert sum(pace.takes(1001.0) for _ in range(2000)) == 100 + 400 // 60
    assert sum(pace.takes(1001.1 + number / 50) for number in range(1000)) == 1000
    assert sum(pace.takes(1100.0) for _ in range(2000)) == 500, "a burst once a minute is kept whole"
    assert sum(IntakePace(1_000_000).takes(number / 10_000) for number in range(100_000)) == 100_000


@given(st.lists(st.floats(0, 0.5), max_size=300), st.sampled_from([1, 100, 2000]))
def test_what_may_not_begin_would_not_be_kept_alone(pauses: list[float], most: int) -> None:
    pace, now = IntakePace(most), 1000.0
    for pause in [0.0] * 100 + pauses:
        now += pause
        if pace.begins(now):
            pace.takes(now)
        elif pace.takes(now):  # one that began earlier: the room that there was for one
            assert not pace.begins(now)


def test_of_a_crowd_few_begin_for_each_that_is_kept() -> None:
    pace, kept, begun, under_way = IntakePace(500), 0, 0, deque[tuple[float, bool]]()
    for number in range(100_000):  # 10,000 a second, each of which takes 3 ms
        now = 1000.0 + number / 10_000
        while under_way and under_way[0][0] <= now:
            ended, may = under_way.popleft()
            kept += may and pace.takes(ended)
        may = pace.begins(now)
        begun += may
        under_way.append((now + 0.003, may))
    assert kept == pytest.approx(500 + 10 * (100 + 400 / 60), rel=0.05)
    assert begun < 1.5 * kept


def test_what_strangers_began_does_not_keep_others_out() -> None:
    pace = IntakePace(500)
    while pace.takes(1000.0):
        pass
    # None of those that begin is admitted: the room grows, and all that come may be kept again.
    assert sum(pace.begins(1000.0 + number / 1000) for number in range(1000)) > 900


async def test_a_worker_without_a_console_lends_one_while_something_looks() -> None:
    loop = asyncio.get_running_loop()
    clock = SimpleNamespace(wall=lambda: NOW, now=loop.time)
    site: Any = SimpleNamespace(instance="aa", loop=loop, clock=clock, capture=None)
    asked: Any = SimpleNamespace(content=b'{"query": "route:github"}')
    streams = [desk.stream_without_console(site, asked).stream for _ in range(2)]
    assert site.capture is None
    for stream in streams:
        assert stream is not None
        assert json.loads(await anext(stream))["tag"] == "aa"
    first: Any = site.capture
    assert len(first.viewers) == 2
    for left, stream in ((first, streams[0]), (None, streams[1])):
        assert stream is not None
        await stream.aclose()
        assert site.capture is left
    wrong: Any = SimpleNamespace(content=b'{"query": "nope:x"}')
    assert desk.stream_without_console(site, wrong).status == 400
