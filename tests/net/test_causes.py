"""Causes are looked for after the answer, not too often, and told to the operator alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.core.body import BodyGate
from proxy.core.causes import MAX_BODY_BYTES, Case, Diagnosis
from proxy.core.metrics import Metrics
from proxy.core.policy import BodyMode, Route
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.relay import Relay
from proxy.core.setup_faults import SetupFault
from proxy.net import causes as module
from proxy.net.causes import BURST, BURST_OF_ALL, INTERVAL_OF_ALL_S, INTERVAL_S, MAX_WAITING, Diagnoser
from proxy.net.clock import Clock
from proxy.net.site import EndedExchange
from proxy.reasons import Reason
from tests.faults import KEY, github, refused, route
from tests.net.dialogue import LIMITS as DIALOGUE_LIMITS
from tests.net.dialogue import OK, World, forged, request, signed
from tests.net.dialogue import route as dialogue_route

CASE = refused(route(), github(KEY + b"\n"))
DEADLINE_S = 10


class Place:
    """A diagnoser with a clock that stands still, and what it noted."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = 100.0
        self.clock = Clock(self.loop)
        self.clock.now = lambda: self.now
        self.metrics = Metrics()
        self.notes: list[str] = []
        self.noted = asyncio.Event()
        self.withheld: list[tuple[str, str]] = []
        self.note: Callable[[SetupFault, str], None] = lambda fault, text: self.withheld.append((fault.said, text))
        self.diagnoser = Diagnoser(self, self.tell)
        self.bodies = 0
        self.done: list[ExchangeRecord] = []

    def tell(self, text: str) -> None:
        self.notes.append(text)
        self.noted.set()

    def look(self, case: Case = CASE, reason: Reason | None = None) -> None:
        place = self

        class Suspicious(Relay):
            """A relay that was refused."""

            def body_in_memory(self) -> bytes | None:
                place.bodies += 1
                return case.body

        record = ExchangeRecord("id1", 0.0, "192.0.2.7", "192.0.2.7")
        relay = Suspicious(record, Arrival("192.0.2.7", secure=False), 0.0)
        relay.head, relay.route, relay.suspect = case.head, case.route, reason or case.reason
        self.diagnoser.look(relay, case.routes, self.done.append)

    async def count(self, number: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.notes) < number:
                self.noted.clear()
                await self.noted.wait()


async def test_a_finding_is_noted_and_counted(run):
    place = Place()
    place.look()
    assert (place.notes, place.done) == ([], []), "never before the caller has gone on"
    await place.count(1)
    [record] = place.done
    assert record.cause == "secret_blank_there"
    assert record.why.startswith("The sender's secret is ")
    assert record.mend.startswith("Enter it at the provider again")
    place.diagnoser.close()
    assert place.done == [record], "once"
    [text] = place.notes
    assert text.startswith("why secret_blank_there: The sender's secret is ")
    assert text.endswith(" (signature_mismatch, route hooks, request id1)")
    assert b'hookward_diagnoses_total{route="hooks",diagnosis="secret_blank_there"} 1' in place.metrics.expose()
    assert KEY.decode() not in text


async def test_a_flood_costs_the_comparison_of_a_time(run):
    place = Place()
    for _ in range(1000):
        place.look()
    assert place.bodies == BURST
    assert len(place.done) == 1000 - BURST, "the others have their line at once"
    assert not any(record.cause for record in place.done)
    await place.count(BURST)
    assert len(place.done) == 1000
    assert len(place.withheld) == 1000 - BURST
    said, address = place.withheld[0]
    assert said.startswith("why: route hooks refuses more than causes are looked for")
    assert address == "192.0.2.7"
    assert f'hookward_diagnoses_withheld_total{{route="hooks"}} {1000 - BURST}'.encode() in place.metrics.expose()
    place.now += INTERVAL_S
    for _ in range(1000):
        place.look()
    assert place.bodies == BURST + 1
    place.now += 1000
    for _ in range(1000):
        place.look()
    assert place.bodies == 2 * BURST + 1, "a rest fills the bucket, and not more"
    place.diagnoser.close()


async def test_routes_and_reasons_do_not_crowd_each_other_out(run):
    place = Place()
    for _ in range(BURST + 3):
        place.look()
    await place.count(BURST)
    place.look(replace(CASE, route=replace(CASE.route, name="second")))
    place.look(reason=Reason.SIGNATURE_MALFORMED)
    assert place.bodies == BURST + 2
    place.diagnoser.close()


async def test_all_routes_together_are_bounded(run):
    place = Place()
    for at in range(3 * BURST_OF_ALL):
        place.look(replace(CASE, route=replace(CASE.route, name=str(at))))
        await place.count(min(at + 1, BURST_OF_ALL))
    assert place.bodies == BURST_OF_ALL
    place.now += INTERVAL_OF_ALL_S
    place.look(replace(CASE, route=replace(CASE.route, name="one more")))
    assert place.bodies == BURST_OF_ALL + 1
    place.diagnoser.close()


async def test_what_waits_is_bounded(run):
    place = Place()
    for at in range(3 * MAX_WAITING):
        place.look(replace(CASE, route=replace(CASE.route, name=str(at))))
    assert place.bodies == MAX_WAITING
    assert len(place.done) == 2 * MAX_WAITING
    place.diagnoser.close()
    assert len(place.done) == 3 * MAX_WAITING, "no line is lost at the end"
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(place.done) == 3 * MAX_WAITING, "and none is written twice"


async def test_other_reasons_are_not_looked_into(run):
    place = Place()
    for reason in (Reason.PATH_NOT_MATCHED, Reason.ADDRESS_REFUSED, Reason.BODY_TIMEOUT):
        place.look(reason=reason)
    assert place.bodies == 0
    assert len(place.done) == 3
    assert place.withheld == []
    place.diagnoser.close()


async def test_a_bug_is_told_and_ends_nothing(run, monkeypatch: pytest.MonkeyPatch):
    def broken(_case: Case) -> None:
        raise ZeroDivisionError

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
    assert [record.cause for record in place.done] == [""], "its line is written all the same"
    monkeypatch.undo()
    place.loop.set_exception_handler(before)
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)
    place.look()
    await place.count(1)
    place.diagnoser.close()


def test_a_text_for_people_is_one_line():
    text = module._sentence(CASE, Diagnosis("unknown", 'say "x".', "\x1b[2J"), "a\nb")
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

    def look(self, over: EndedExchange, routes: tuple[Route, ...], done: Callable[[ExchangeRecord], None]) -> None:
        assert over.suspect is not None
        assert over.route is not None
        self.asked.append((over.suspect, over.body_in_memory(), over.route.name, over.record.request_id))
        assert over.record not in self.world.records, "its line waits for the cause"
        self.answered.append(bool(self.world.site.metrics.snapshot()["hookward_exchanges_total"]))
        assert routes is self.world.site.policy.routes
        assert over.head.path.startswith(over.route.path)
        done(over.record)


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
    assert looks.answered == [True], "counted before"


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
    for data in (forged(b"{}"), request(b"{}")):
        world.sender() >> data
        world.upstream >> OK
    assert [(reason, body) for reason, body, _, _ in looks.asked] == [(MISMATCH, b"{}"), (MISSING, None)]


def test_what_no_route_refused_and_what_is_admitted_is_not():
    world = World()
    looks = Looks(world)
    world.sender() >> request(b"{}", path=b"/none")
    world.sender() >> signed(b"{}")
    assert looks.asked == []
