from __future__ import annotations

import pytest

from proxy.config.describe import describe
from proxy.core.payload import Pointer
from proxy.core.policy import BodyMode
from proxy.core.schemes import PROVIDERS
from tests.config.loading import ALLOW, ENDS, GITHUB, Workplace, route

STRIPE = 'provider = "stripe"\nsecrets = "file:token"\n'


def test_a_route_that_looks_at_no_payload(place: Workplace) -> None:
    assert place.routes(route(GITHUB + 'events = ["push"]\n'))["a"].payload is None


def test_conditions_and_how_the_body_goes(place: Workplace) -> None:
    text = 'where = { "action" = ["opened"], "repository.full_name" = "org/*" }\n'
    for guard, more, body in (
        (GITHUB, "", BodyMode.TAIL),
        (GITHUB, 'body = "hold"\n', BodyMode.HOLD),
        (ALLOW, "", BodyMode.TAIL),
        (ALLOW, 'body = "hold"\n', BodyMode.HOLD),
    ):
        one = place.routes(route(guard + text + more))["a"]
        assert one.payload is not None
        assert [condition.place.text for condition in one.payload.where] == ["action", "repository.full_name"]
        assert (one.body, one.payload.may_pass) == (body, False)
    lenient = place.routes(route(ALLOW + text + 'undecided = "pass"\n'))["a"]
    assert lenient.payload is not None
    assert lenient.payload.may_pass


def test_as_a_table_of_its_own(place: Workplace) -> None:
    one = place.routes(route(ALLOW + '[route.a.where]\naction = "opened"\nrepository.private = false\n'))["a"]
    assert one.payload is not None
    assert [condition.place.text for condition in one.payload.where] == ["action", "repository.private"]


def test_events_in_the_payload(place: Workplace) -> None:
    one = place.routes(route(STRIPE + 'events = ["charge.succeeded"]\n'))["a"]
    assert one.payload is not None
    assert (one.payload.event_place, one.payload.events) == (Pointer.parse("type"), frozenset({"charge.succeeded"}))
    assert one.events == one.payload.events
    own = '[scheme.acme]\nheader = "X-Sign"\nevent_place = "event.kind"\n'
    acme = 'provider = "acme"\nsecrets = "file:token"\nevents = "paid"\n'
    scheme = place.routes(f"{ENDS}{own}[route.a]\n{acme}")["a"]
    assert scheme.payload is not None
    assert scheme.payload.event_place == Pointer.parse("event.kind")


def test_every_known_place_can_be_read() -> None:
    found = [provider for provider in PROVIDERS.values() if provider.event_place]
    assert len(found) > 50
    for provider in found:
        assert Pointer.parse(provider.event_place).steps
        assert provider.event_header is None, "the header says it without a look at the body"


def test_what_is_passed_on_is_said(place: Workplace) -> None:
    text = 'where = { action = ["opened", "!x"], number = 3 }\nundecided = "pass"\n'
    said = describe(place.load(route(GITHUB + text)))
    assert "Passed on: action is 'opened' and is not 'x'; number is 3. Others are answered 200;" in said
    assert "what cannot be read is passed on." in said


@pytest.mark.parametrize(
    ("text", "where", "what", "mend"),
    [
        (ALLOW + 'where = { a = "x" }\nbody = "free"', "6: route.a.body", "before its payload is looked at", '"tail"'),
        (ALLOW + 'undecided = "pass"', "5: route.a.undecided", "no effect without `where`", "add `where`"),
        (
            STRIPE + 'events = ["x"]\nundecided = "pass"',
            "7: route.a.undecided",
            "never passed on where `events`",
            "remove",
        ),
        (ALLOW + 'where = { "a..b" = "x" }', "5: route.a.where", "no place in a payload", "dots"),
        (ALLOW + 'where = "a"', "5: route.a.where", "not a table", "write {"),
        (ALLOW + 'where = { a = 1 }\nundecided = "maybe"', "6: route.a.undecided", "none of refuse, pass", "one of"),
        (ALLOW + 'events = ["push"]', "5: route.a.events", "no place for it in its payloads", "where = {"),
    ],
)
def test_mistakes(place: Workplace, text: str, where: str, what: str, mend: str) -> None:
    [problem] = place.problems(route(text))
    assert problem.where == f"hookward.toml:{where}"
    assert what in problem.what
    assert mend in problem.mend
