"""Keeping sets fresh: what a feed's good answer changes, and that nothing else ever changes anything."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Loaded
from proxy.core.addresses import Peer
from proxy.core.metric_families import SET_AGE, SET_PREFIXES, SET_REFRESHES
from proxy.core.metrics import Metrics
from proxy.net import feeds
from proxy.net.feeds import SetRefresher
from tests.net.conftest import DEADLINE_S, Run
from tests.net.feed_server import FeedServer, answer, feed_server

NOW = 1_795_000_000.0
OFFICE = [f"192.0.2.{n}" for n in range(20)]


def prefixes(*texts: object, **fields: str) -> bytes:
    content = json.dumps({"prefixes": [{"cidr": text} for text in texts]}).encode()
    return answer(content, *(f"{name}: {value}" for name, value in fields.items()))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - the condition is the code under test's own state
            await asyncio.sleep(0.001)


class Place:
    """A configuration with one list of its own, and a worker's refresher for it."""

    def __init__(
        self, folder: Path, server: FeedServer, *, refresh: str = "1h", allow: str = "set:office", more: str = ""
    ) -> None:
        self.folder = folder
        self.server = server
        self.shelf = SetShelf()
        self.metrics = Metrics("1", "3")
        self.now = NOW
        self.changes: list[Loaded] = []
        self.config = folder / "hookward.toml"
        self.config.write_text(
            f'listen = "127.0.0.1:0"\nupstream = "http://127.0.0.1:9"\nallow = ["{allow}", "198.51.100.1"]\n'
            f'state_dir = "{folder}"\n{more}\n'
            f'[ip_set.office]\nurl = "{server.url()}"\njson = "prefixes[].cidr"\nrefresh = "{refresh}"\n'
        )
        server.answers.setdefault("/feed", prefixes(*OFFICE))
        self.refresher = SetRefresher(self.shelf, self.metrics, lambda: self.now, self.changes.append)

    def load(self) -> Loaded:
        return load(["--config", str(self.config)], {}, now=self.now, shelf=self.shelf)

    @property
    def stored(self) -> Path:
        return self.folder / "ip-sets" / "office.json"

    def refreshes(self, result: str) -> float:
        return self.metrics.values(SET_REFRESHES).get(("office", result), 0)

    async def start(self) -> Loaded:
        loaded = await self.refresher.fetch_missing(self.load())
        self.refresher.use(loaded)
        return loaded

    def due(self) -> None:
        """Let the list be due now."""
        self.now += 7200
        self.refresher._due = dict.fromkeys(self.refresher._due, 0.0)
        self.refresher._wake.set()


def admits(loaded: Loaded, text: str) -> bool:
    assert loaded.policy.admission is not None
    return Peer.of(text) in loaded.policy.admission


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(feeds, "RETRY_S", 3600.0)
    caplog.set_level(logging.INFO, "proxy")


async def test_a_list_without_a_copy_is_fetched_before_the_start(run: Run[None], tmp_path: Path):
    async with feed_server() as server:
        place = Place(tmp_path, server)
        before = place.load()
        assert not admits(before, "192.0.2.3")
        assert [feed.name for feed in before.sets.missing] == ["office"]
        assert any("admits no address" in warning for warning in before.settings.warnings)
        loaded = await place.start()
        assert admits(loaded, "192.0.2.3")
        assert admits(loaded, "198.51.100.1")
        assert not loaded.sets.missing
        assert not any("admits no address" in warning for warning in loaded.settings.warnings)
        assert place.stored.stat().st_mode & 0o777 == 0o600
        assert place.stored.parent.stat().st_mode & 0o777 == 0o700
        assert place.stored.stat().st_mtime == NOW
        place.refresher.measure()
        assert place.metrics.values(SET_PREFIXES) == {("office",): 20}
        assert place.metrics.values(SET_AGE) == {("office",): 0}
        await place.refresher.close()


def test_without_its_feed_a_new_list_admits_nobody_until_it_comes(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(feeds, "RETRY_S", 0.01)

    async def main() -> None:
        async with feed_server() as server:
            server.answers["/feed"] = answer(b"", status="500 Oh")
            place = Place(tmp_path, server)
            loaded = await place.start()
            assert not admits(loaded, "192.0.2.3")
            assert admits(loaded, "198.51.100.1")
            assert loaded.sets.missing
            assert "set:office could not be fetched and admits no address: it answers 500" in caplog.text
            server.answers["/feed"] = prefixes(*OFFICE)
            await until(lambda: bool(place.changes))
            assert admits(place.changes[0], "192.0.2.3")
            assert place.changes[0].policy.generation == loaded.policy.generation + 1
            await place.refresher.close()

    run(main())


def test_a_silent_feed_does_not_hold_up_the_start(run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feeds, "START_S", 0.05)

    async def main() -> None:
        async with feed_server() as server:
            server.silent.add("/feed")
            place = Place(tmp_path, server)
            assert not admits(await place.start(), "192.0.2.3")
            await place.refresher.close()

    run(main())


async def test_a_change_reaches_every_list_that_asks(run: Run[None], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    more = (
        'trusted_proxies = ["set:office"]\n[route.a]\npath = "/a"\nallow = ["set:office"]\n[route.b]\npath = "/b"\n'
        '[route.c]\npath = "/c"\nallow = ["198.51.100.2"]\n'
        '[tcp.ssh]\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:22"\nallow = ["set:office"]\n'
    )
    async with feed_server() as server:
        place = Place(tmp_path, server, more=more)
        loaded = await place.start()
        place.config.write_text("this = 'is broken now, and nobody has asked for a reload'")
        server.answers["/feed"] = prefixes(*OFFICE[1:], "203.0.113.0/24")
        place.due()
        await until(lambda: bool(place.changes))
        [fresh] = place.changes
        new, old = Peer.of("203.0.113.9"), Peer.of(OFFICE[0])
        routes = {route.name: route.allow for route in fresh.policy.routes}
        for allow in (fresh.policy.admission, fresh.policy.allow, fresh.policy.trusted_proxies, routes["a"],
                      routes["b"], fresh.settings.tcp[0].allow):  # fmt: skip
            assert allow is not None
            assert new in allow
            assert old not in allow
        assert routes["c"] is loaded.policy.routes[2].allow
        assert Peer.of("198.51.100.1") in routes["b"]
        assert fresh.policy.generation == 2
        # what was in force before is still whole: exchanges end as they began
        assert old in loaded.policy.admission
        assert "set:office: 1 (203.0.113.0/24) added, 1 (192.0.2.0) removed; it has 20 prefixes now" in caplog.text
        assert place.refreshes("changed") == 2
        await place.refresher.close()


BROKEN = {
    "truncated": answer(b'{"prefixes": [{"cidr": "192.0.2'),
    "empty": prefixes(),
    "no-key": answer(b"{}"),
    "500": answer(b"", status="500 Internal Server Error"),
    "redirect": answer(b"", "Location: /other", status="301 Moved Permanently"),
    "everybody": prefixes(*OFFICE, "0.0.0.0/0"),
    "everybody6": prefixes(*OFFICE, "::/0"),
    "shrunk": prefixes(OFFICE[0]),
    "wrong-type": prefixes(*OFFICE, 7),
    "wrong-shape": answer(b'{"prefixes": {"cidr": "192.0.2.1"}}'),
    "host-bits": prefixes(*OFFICE, "203.0.113.1/24"),
    "html": answer(b"<html>please log in</html>"),
    "cut-off": prefixes(*OFFICE)[:-9],
    "gzip": prefixes(*OFFICE, **{"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_broken_feed_changes_nothing(
    run: Run[None], tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: bytes
):
    async with feed_server() as server:
        place = Place(tmp_path, server)
        await place.start()
        kept = place.stored.read_bytes()
        server.answers["/feed"] = broken
        place.due()
        await until(lambda: place.refreshes("failed") == 1)
        assert "set:office could not be refreshed, the copy confirmed 0.1 days ago stays: " in caplog.text
        assert place.stored.read_bytes() == kept
        assert place.stored.stat().st_mtime == NOW
        assert admits(place.load(), OFFICE[7])
        server.answers["/feed"] = prefixes(*OFFICE, "203.0.113.0/24")
        place.due()
        await until(lambda: bool(place.changes))
        assert admits(place.changes[0], "203.0.113.1")
        await place.refresher.close()


async def test_what_a_query_asks_for_may_not_vanish(run: Run[None], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def document(product: str) -> bytes:
        items = [{"cidr": "192.0.2.0/24", "product": [product], "direction": ["egress"]}]
        return answer(json.dumps({"items": items}).encode())

    async with feed_server() as server:
        server.answers["/feed"] = document("bitbucket")
        place = Place(tmp_path, server)
        place.config.write_text(
            'listen = "127.0.0.1:0"\nupstream = "127.0.0.1:9"\nallow = ["set:bitbucket"]\n'
            f'[ip_set.atlassian]\nurl = "{server.url()}"\n'
        )
        assert admits(await place.start(), "192.0.2.1")
        server.answers["/feed"] = document("jira")
        place.due()
        await until(lambda: place.metrics.values(SET_REFRESHES).get(("atlassian", "failed")) == 1)
        assert "set:atlassian?product=bitbucket would admit no address" in caplog.text
        assert admits(place.load(), "192.0.2.1")
        assert not place.changes
        await place.refresher.close()


async def test_a_confirmed_copy_is_young_again(run: Run[None], tmp_path: Path):
    async with feed_server() as server:
        server.answers["/feed"] = prefixes(*OFFICE, ETag='"v1"')
        server.etags["/feed"] = '"v1"'
        place = Place(tmp_path, server)
        await place.start()
        kept = place.stored.read_bytes()
        place.due()
        await until(lambda: place.refreshes("unchanged") == 1)
        assert server.requests[-1]["if-none-match"] == '"v1"'
        assert place.stored.stat().st_mtime == place.now
        place.refresher.measure()
        assert place.metrics.values(SET_AGE) == {("office",): 0}
        place.stored.unlink()
        place.due()
        await until(lambda: place.refreshes("unchanged") == 2)
        assert place.stored.read_bytes() == kept
        server.etags.clear()
        server.answers["/feed"] = prefixes(*reversed(OFFICE), OFFICE[3], ETag='"v2"')
        place.due()
        await until(lambda: place.refreshes("unchanged") == 3)
        assert not place.changes
        await place.refresher.close()


async def test_the_last_good_copy_outlives_the_process(run: Run[None], tmp_path: Path):
    async with feed_server() as server:
        first = Place(tmp_path, server)
        await first.start()
        await first.refresher.close()
        server.answers["/feed"] = answer(b"", status="503 Gone Fishing")
        second = Place(tmp_path, server)
        asked = len(server.requests)
        loaded = await second.start()
        assert admits(loaded, OFFICE[0])
        assert len(server.requests) == asked
        await second.refresher.close()


async def test_a_reload_forgets_nothing_even_without_a_state_directory(run: Run[None], tmp_path: Path):
    async with feed_server() as server:
        place = Place(tmp_path, server)
        place.config.write_text(place.config.read_text().replace("state_dir", "#"))
        await place.start()
        server.answers.clear()
        again = place.load()
        assert admits(again, OFFICE[0])
        assert not again.sets.missing
        place.refresher.use(again)
        assert not place.stored.exists()
        await place.refresher.close()


async def test_what_a_neighbour_has_fetched_is_taken_from_disk(run: Run[None], tmp_path: Path):
    async with feed_server() as server:
        one, two = Place(tmp_path, server), Place(tmp_path, server)
        await one.start()
        await two.start()
        assert len(server.requests) == 1
        server.answers["/feed"] = prefixes(*OFFICE, "203.0.113.0/24")
        one.due()
        await until(lambda: bool(one.changes))
        two.due()
        await until(lambda: bool(two.changes))
        assert admits(two.changes[0], "203.0.113.1")
        assert len(server.requests) == 2
        await one.refresher.close()
        await two.refresher.close()


async def test_a_state_directory_that_cannot_be_written_is_only_said(
    run: Run[None], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with feed_server() as server:
        place = Place(tmp_path, server)
        (tmp_path / "ip-sets").write_text("in the way")
        assert admits(await place.start(), OFFICE[0])
        assert "set:office cannot be kept in" in caplog.text
        await place.refresher.close()


async def test_zero_is_never_unless_there_is_nothing(run: Run[None], tmp_path: Path):
    async with feed_server() as server:
        place = Place(tmp_path, server, refresh="0s")
        await place.start()
        assert len(server.requests) == 1
        assert list(place.refresher._due.values()) == [float("inf")]
        await place.refresher.close()


async def test_lists_that_are_used_no_more_are_asked_no_more(run: Run[None], tmp_path: Path):
    async with feed_server() as server:
        place = Place(tmp_path, server, refresh="10ms")
        await place.start()
        await until(lambda: len(server.requests) > 2)
        place.config.write_text(place.config.read_text().replace('"set:office", ', ""))
        place.refresher.use(place.load())
        assert not place.refresher._due
        place.refresher.measure()
        await place.refresher.close()


async def test_a_reload_in_the_middle_of_a_swap_wins(run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with feed_server() as server:
        place = Place(tmp_path, server)
        await place.start()
        real: Callable[[Loaded, int], Loaded] = vars(feeds)["with_current_sets"]

        def meanwhile(loaded: Loaded, generation: int) -> Loaded:
            asyncio.run_coroutine_threadsafe(reload(), loop).result(DEADLINE_S)
            return real(loaded, generation)

        async def reload() -> None:
            place.refresher.use(place.load())

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(feeds, "with_current_sets", meanwhile)
        server.answers["/feed"] = prefixes(*OFFICE, "203.0.113.0/24")
        place.due()
        await until(lambda: place.refreshes("changed") == 2)
        await asyncio.to_thread(lambda: None)
        await until(lambda: place.refresher._loaded is not None and admits(place.refresher._loaded, "203.0.113.1"))
        assert not place.changes
        await place.refresher.close()


async def test_a_fault_of_ours_is_told_and_survived(
    run: Run[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async with feed_server() as server:
        place = Place(tmp_path, server)
        await place.start()
        monkeypatch.setattr(feeds, "judge", lambda *_: 1 / 0)
        place.due()
        await until(lambda: place.refreshes("failed") == 1)
        assert "a fault of ours" in caplog.text
        assert place.refresher._task is not None
        assert not place.refresher._task.done()
        await place.refresher.close()
