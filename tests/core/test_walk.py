"""Walking through the checks: each says what it found, in the order of the checks, and the word is the guard's own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer
from proxy.core.exchange import Reject, decide
from proxy.core.policy import Exposure, Route, RouteTable
from proxy.core.request_head import read_request_head
from proxy.core.signing.proof import TokenKind
from proxy.core.walk import ADMITTED, Trip, Walk, walk
from proxy.reasons import Reason
from tests import policies
from tests.deliveries import NOW
from tests.faults import JSON, KEY, TOKEN, github, route, signed, token
from tests.policies import HEAD_LIMITS, LIMITS, policy

OFFICE = AddressSet.parse(["192.0.2.0/24"])
TYPES = frozenset({b"application/json"})


def trip(
    guard: Route,
    fields: dict[str, bytes],
    body: bytes = JSON,
    *,
    target: str = "/x",
    method: str = "POST",
    **more: object,
) -> Trip:
    lines = "".join(f"{name}: {value.decode('latin-1')}\r\n" for name, value in fields.items())
    head = f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode("latin-1")
    made = {"policy": policy(guard), "now": NOW, **more}
    return Trip(head, body, **made)


def steps(found: Walk) -> list[tuple[str, bool | None]]:
    return [(step.name, step.passed) for step in found.steps]


def test_an_admitted_delivery():
    found = walk(trip(route(), github(KEY)))
    assert (found.word, found.route, found.secret, found.diagnosis) == (ADMITTED, "hooks", "main", None)
    assert steps(found) == [
        ("head", True),
        ("route", True),
        ("method", True),
        ("address", None),
        ("length", True),
        ("signature", True),
        ("proof", True),
    ]


def test_the_type_of_the_content_is_said():
    found = walk(trip(replace(route(), content_types=TYPES), {**github(KEY), "Content-Type": b"application/JSON; a=b"}))
    assert found.word == ADMITTED
    assert ("content type", "application/JSON; a=b") in [(step.name, step.said) for step in found.steps]


def test_a_token_in_the_path_is_not_said():
    check = token(TokenKind.PATH, b"/in/")
    guard = policies.route(name="in", path=b"/in/", token=check, exact=True, provider="token")
    word = TOKEN.decode()
    for target, said in ((f"/in/{word}", ADMITTED), ("/in/x", "token_mismatch"), (f"/in/{word}/x", "path_not_matched")):
        found = walk(trip(guard, {}, target=target))
        assert found.word == said
        assert word not in repr(found)
        assert found.steps[0].said.startswith("POST /in/{token}")
    found = walk(trip(replace(guard, rewrite=b"/app"), {}, target=f"/in/{word}"))
    assert ("upstream path", "/app") in [(step.name, step.said) for step in found.steps]
    assert "there are /in/{token}" in repr(walk(trip(guard, {}, target="/elsewhere")))


def test_a_mismatch_has_its_cause():
    found = walk(trip(route(), github(KEY + b"\n")))
    assert found.word == "signature_mismatch"
    assert steps(found)[-1] == ("proof", False)
    assert found.diagnosis is not None
    assert found.diagnosis.word == "secret_blank_there"


@pytest.mark.parametrize(
    ("made", "word", "last"),
    [
        (trip(route(), {}), "signature_missing", "signature"),
        (trip(route(), github(KEY), method="GET"), "method_not_allowed", "method"),
        (trip(replace(route(), path=b"/y"), github(KEY)), "path_not_matched", "route"),
        (trip(replace(route(), allow=OFFICE), github(KEY), peer=Peer.of("198.51.100.1")), "address_refused", "address"),
        (trip(replace(route(), deny=(OFFICE,)), github(KEY), peer=Peer.of("192.0.2.1")), "address_refused", "address"),
        (trip(replace(route(), content_types=TYPES), github(KEY)), "content_type_refused", "content type"),
        (trip(replace(route(), events=frozenset({"ping"})), github(KEY)), "event_refused", "event"),
        (trip(replace(route(), limits=replace(LIMITS, max_body=3)), github(KEY)), "body_too_large", "length"),
        (trip(route("gitlab", token=token()), {"X-Token": b"wrong"}), "token_mismatch", "token"),
        (trip(route("vonage"), signed("vonage", b"other")), "signature_mismatch", "proof"),
        (Trip(b"POST / HTTP/1.1\r\n\r\n", b"", policy(route()), NOW), "bad_request", "head"),
        (Trip(b"POST / HT", b"", policy(route()), NOW), "bad_request", "head"),
    ],
)
def test_a_refusal_ends_at_its_check(made: Trip, word: str, last: str):
    found = walk(made)
    assert found.word == word
    name, passed = steps(found)[-1]
    assert (name, passed) == (last, False)


def test_an_address_is_judged_where_one_is_given():
    guard = replace(route(), allow=OFFICE)
    assert walk(trip(guard, github(KEY), peer=Peer.of("192.0.2.7"))).word == ADMITTED
    assert walk(trip(guard, github(KEY))).word == ADMITTED, "else none is judged"


def test_a_certificate_is_not_judged_for_a_saved_delivery_has_none():
    guard = replace(route(), client_names=frozenset({"sender.example"}))
    found = walk(trip(guard, github(KEY)))
    assert found.word == ADMITTED
    assert ("certificate", None) in steps(found)
    forged = walk(trip(guard, github(b"another")))
    assert (forged.word, steps(forged)[-1]) == ("signature_mismatch", ("proof", False)), "and all else is"


@pytest.mark.parametrize(
    ("host", "peer", "word"),
    [
        (b"localhost", None, ""),
        (b"localhost", Peer.of("127.0.0.1"), ""),
        (b"hooks.example.com", None, "public_host"),
        (b"localhost", Peer.of("192.0.2.7"), "not_loopback"),
    ],
)
def test_local_only_is_judged_as_such(host: bytes, peer: Peer | None, word: str):
    local = policy(route("own", token=token()), exposure=Exposure.LOCAL)
    made = trip(route(), {"X-Token": TOKEN}, policy=local, peer=peer)
    found = walk(replace(made, head=re.sub(rb"(?<=\r\nHost: )[^\r]+", host, made.head)))
    if not word:
        assert (found.word, found.diagnosis) == (ADMITTED, None)
        assert ("local only", True) in steps(found)
        return
    assert found.word == "address_refused"
    assert steps(found)[-1] == ("local only", False)
    assert found.diagnosis is not None
    assert found.diagnosis.word == word
    assert "Nothing is configured, so only this host may pass" in found.diagnosis.sentence


def test_of_two_routes_on_a_path_the_one_whose_evidence_came_decides():
    tokened = replace(route(), name="tokened", signature=None, token=token())
    both = policy(route(), tokened)
    wrong = walk(trip(route(), {"X-Token": b"a guess"}, policy=both))
    assert (wrong.route, wrong.word) == ("tokened", "token_mismatch")
    unsigned = walk(trip(route(), {}, policy=both))
    assert (unsigned.route, unsigned.word) == ("hooks", "signature_missing")


def test_time_aside_the_rest_is_judged():
    old = walk(trip(route("slack"), signed("slack", KEY, now=NOW - 1000)))
    assert (old.word, steps(old)[-1]) == ("timestamp_too_old", ("time aside", True))
    wrong = walk(trip(route("slack"), signed("slack", KEY + b"\n", now=NOW - 1000)))
    assert steps(wrong)[-1] == ("time aside", False)
    assert "secret_blank_there" in wrong.steps[-1].said
    fresh = walk(trip(route("slack"), signed("slack", KEY, now=NOW - 7)))
    assert ("time", True, "signed 7 s ago") in [(one.name, one.passed, one.said) for one in fresh.steps]


def test_several_routes_of_a_path():
    second = replace(route("github", b"another secret"), name="second", allow=OFFICE)
    found = walk(trip(route(), github(KEY), policy=policy(second, route()), peer=Peer.of("198.51.100.1")))
    assert (found.word, found.route) == (ADMITTED, "hooks")
    assert "second, hooks" in found.steps[1].said


def test_what_is_only_observed_has_the_word_of_the_refusal():
    found = walk(trip(replace(route(), observe=True), {}))
    assert found.word == "signature_missing"
    assert ("mode", None) in steps(found)


def test_a_body_beyond_its_limit_without_a_declared_length():
    head = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    tight = replace(route("own", token=token()), token=None, limits=replace(LIMITS, max_body=3))
    assert walk(Trip(head, b"1234", policy(tight), NOW)).word == "body_too_large"


def test_nothing_confidential_is_said():
    for fields in (github(KEY), github(KEY + b"x"), {"X-Hub-Signature-256": b"sha256=" + b"ab" * 32}):
        found = walk(trip(route(), fields))
        said = " ".join(step.said for step in found.steps)
        assert KEY.decode() not in said
        assert fields["X-Hub-Signature-256"].decode()[7:] not in said


FIELDS = st.dictionaries(
    st.sampled_from(["X-Hub-Signature-256", "X-GitHub-Event", "X-Token", "Authorization", "X-Forwarded-For"]),
    st.sampled_from([b"", b"sha256=" + b"0" * 64, b"push", TOKEN, b"Bearer x", github(KEY)["X-Hub-Signature-256"]]),
    max_size=4,
)
ROUTES = [
    route(),
    replace(route(), allow=OFFICE, events=frozenset({"push"})),
    route("gitlab", token=token()),
    replace(route(), limits=replace(LIMITS, max_body=9)),
]


@given(
    guard=st.sampled_from(ROUTES),
    fields=FIELDS,
    body=st.sampled_from([b"", JSON, b"x" * 20]),
    method=st.sampled_from(["POST", "GET"]),
    peer=st.sampled_from([Peer.of("192.0.2.7"), Peer.of("198.51.100.1")]),
)
def test_the_word_is_the_guard_s_own(guard: Route, fields: dict[str, bytes], body: bytes, method: str, peer: Peer):
    made = trip(guard, fields, body, method=method, peer=peer)
    found = walk(made)
    parsed = read_request_head(made.head, HEAD_LIMITS)
    assert parsed is not None
    decision = decide(parsed[0], peer, made.policy, RouteTable(made.policy.routes), NOW, trusted=False)
    if isinstance(decision, Reject):
        assert found.word == decision.reason.word
        return
    verdict = decision.verification.verify(body) if decision.verification is not None else "none"
    assert found.word == (verdict.word if isinstance(verdict, Reason) else ADMITTED)
