"""Causes are looked for after the answer, not too often, and told to the operator alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from proxy.core.body import BodyGate
from proxy.core.diagnosis import MAX_BODY_BYTES, Case, Diagnosis
from proxy.core.metrics import Metrics
from proxy.core.policy import BodyMode, Route
from proxy.http1 import RequestHead
from proxy.net import diagnose as module
from proxy.net.clock import Clock
from proxy.net.diagnose import BURST, BURST_OF_ALL, INTERVAL_OF_ALL_S, INTERVAL_S, MAX_WAITING, Diagnoser
from proxy.reasons import Reason
from tests.faults import KEY, github, refused, route
from tests.net.dialogue import LIMITS as DIALOGUE_LIMITS
from tests.net.dialogue import World, forged, request, signed
from tests.net.dialogue import route as dialogue_route

CASE = refused(route(), github(KEY + b"\n"))
DEADLINE_S = 10


class Place:
    """A diagnoser with a clock that stands still, and what it noted."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = 100.0
        clock = Clock(self.loop)
        clock.now = lambda: self.now
        self.metrics = Metrics()
        self.notes: list[str] = []
        self.noted = asyncio.Event()
        self.diagnoser = Diagnoser(self.loop, clock, self.metrics, self.note)
        self.bodies = 0

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.noted.set()

    def look(self, case: Case = CASE, reason: Reason | None = None) -> None:
        def body() -> bytes | None:
            self.bodies += 1
            return case.body

        self.diagnoser.look(
            reason or case.reason, case.head, case.route, routes=case.routes, request_id="id1", body=body
        )

    async def count(self, number: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.notes) < number:
                self.noted.clear()
                await self.noted.wait()


def test_a_finding_is_noted_and_counted(run):
    async def main():
        place = Place()
        place.look()
        assert place.notes == [], "never before the caller has gone on"
        await place.count(1)
        place.diagnoser.close()
        [text] = place.notes
        assert text.startswith("why secret_blank_there: The sender's secret is ")
        assert text.endswith(" (signature_mismatch, route hooks, request id1)")
        assert b'hookward_diagnoses_total{route="hooks",diagnosis="secret_blank_there"} 1' in place.metrics.expose()
        assert KEY.decode() not in text

    run(main())


def test_a_flood_costs_the_comparison_of_a_time(run):
    async def main():
        place = Place()
        for _ in range(1000):
            place.look()
        assert place.bodies == BURST
        await place.count(BURST)
        place.now += INTERVAL_S
        for _ in range(1000):
            place.look()
        assert place.bodies == BURST + 1
        place.now += 1000
        for _ in range(1000):
            place.look()
        assert place.bodies == 2 * BURST + 1, "a rest fills the bucket, and not more"
        place.diagnoser.close()

    run(main())


def test_routes_and_reasons_do_not_crowd_each_other_out(run):
    async def main():
        place = Place()
        for _ in range(BURST + 3):
            place.look()
        await place.count(BURST)
        place.look(replace(CASE, route=replace(CASE.route, name="second")))
        place.look(reason=Reason.SIGNATURE_MALFORMED)
        assert place.bodies == BURST + 2
        place.diagnoser.close()

    run(main())


def test_all_routes_together_are_bounded(run):
    async def main():
        place = Place()
        for at in range(3 * BURST_OF_ALL):
            place.look(replace(CASE, route=replace(CASE.route, name=str(at))))
            await place.count(min(at + 1, BURST_OF_ALL))
        assert place.bodies == BURST_OF_ALL
        place.now += INTERVAL_OF_ALL_S
        place.look(replace(CASE, route=replace(CASE.route, name="one more")))
        assert place.bodies == BURST_OF_ALL + 1
        place.diagnoser.close()

    run(main())


def test_what_waits_is_bounded(run):
    async def main():
        place = Place()
        for at in range(3 * MAX_WAITING):
            place.look(replace(CASE, route=replace(CASE.route, name=str(at))))
        assert place.bodies == MAX_WAITING
        place.diagnoser.close()

    run(main())


def test_other_reasons_are_not_looked_into(run):
    async def main():
        place = Place()
        for reason in (Reason.PATH_NOT_MATCHED, Reason.ADDRESS_REFUSED, Reason.BODY_TIMEOUT):
            place.look(reason=reason)
        assert place.bodies == 0
        place.diagnoser.close()

    run(main())


def test_a_bug_is_told_and_ends_nothing(run, monkeypatch: pytest.MonkeyPatch):
    def broken(_case: Case) -> None:
        raise ZeroDivisionError

    async def main():
        place = Place()
        told = asyncio.Event()
        contexts: list[dict[str, object]] = []

        def handler(_loop: object, context: dict[str, object]) -> None:
            contexts.append(context)
            told.set()

        before = place.loop.get_exception_handler()
        place.loop.set_exception_handler(handler)
        monkeypatch.setattr(module, "diagnose", broken)
        place.look()
        async with asyncio.timeout(DEADLINE_S):
            await told.wait()
        monkeypatch.undo()
        place.loop.set_exception_handler(before)
        assert isinstance(contexts[0]["exception"], ZeroDivisionError)
        place.look()
        await place.count(1)
        place.diagnoser.close()

    run(main())


def test_a_text_for_people_is_one_line():
    text = module._sentence(CASE, Diagnosis("unknown", 'say "x".\x1b[2J'), "a\nb")
    assert text.isprintable()
    assert 'say "x".' in text


@pytest.mark.parametrize(("size", "whole"), [(0, True), (10, True), (MAX_BODY_BYTES, False)])
def test_only_what_the_window_holds_whole_is_looked_at(size: int, whole: bool):
    gate = BodyGate(BodyMode.TAIL, 20, None, None)
    gate.feed(b"x" * size)
    assert (gate.whole_body() is not None) is whole


# -- where it is asked from


class Looks:
    """Stands in for the diagnoser: what it was asked, and what had been said to the sender by then."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[tuple[Reason, bytes | None, str, str]] = []
        self.answered: list[bool] = []
        world.site.diagnoser = self

    def look(self, reason: Reason, head: RequestHead, route: Route, *, routes, request_id: str, body) -> None:
        self.asked.append((reason, body(), route.name, request_id))
        self.answered.append(bool(self.world.records))
        assert routes is self.world.site.policy.routes
        assert head.path.startswith(route.path)


MISMATCH, MISSING = Reason.SIGNATURE_MISMATCH, Reason.SIGNATURE_MISSING


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", [b"/hook", b"/hold"])
def test_a_mismatch_is_asked_about_with_the_body_that_is_held(path: bytes, chunked: bool):
    world = World()
    looks = Looks(world)
    world.sender() >> forged(b'{"a":1}', path=path, chunked=chunked)
    [(reason, body, name, request_id)] = looks.asked
    assert (reason, body, name) == (MISMATCH, b'{"a":1}', path[1:].decode())
    assert request_id == world.records[0].request_id
    assert looks.answered == [True], "after the answer and its line"


def test_a_body_beyond_the_window_is_not_kept_for_it():
    world = World()
    looks = Looks(world)
    world.sender() >> forged(b"x" * (DIALOGUE_LIMITS.hold_window + 1), path=b"/hold")
    assert [(reason, body) for reason, body, _, _ in looks.asked] == [(MISMATCH, None)]


def test_a_window_beyond_what_is_looked_at_is_not_joined():
    world = World(dialogue_route(hold_window=1 << 20))
    looks = Looks(world)
    world.sender() >> forged(b"x" * (MAX_BODY_BYTES + 1))
    assert [(reason, body) for reason, body, _, _ in looks.asked] == [(MISMATCH, None)]


@pytest.mark.parametrize(("data", "body"), [(request(b"{}"), b"{}"), (request(b"{}", chunked=True), None)])
def test_what_the_head_refuses_has_the_body_that_came_with_it(data: bytes, body: bytes | None):
    world = World()
    looks = Looks(world)
    sender = world.sender()
    sender >> data
    sender << b"HTTP/1.1 403 *"
    assert [(reason, seen) for reason, seen, _, _ in looks.asked] == [(MISSING, body)]
    assert looks.answered == [True]


def test_what_is_only_observed_is_asked_about_too():
    world = World(dialogue_route(observe=True))
    looks = Looks(world)
    world.sender() >> forged(b"{}")
    world.sender() >> request(b"{}")
    assert [(reason, body) for reason, body, _, _ in looks.asked] == [(MISMATCH, b"{}"), (MISSING, None)]


def test_what_no_route_refused_and_what_is_admitted_is_not():
    world = World()
    looks = Looks(world)
    world.sender() >> request(b"{}", path=b"/none")
    world.sender() >> signed(b"{}")
    assert looks.asked == []
