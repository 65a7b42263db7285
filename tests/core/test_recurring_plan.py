"""Plans say and write what is decided and written without them, for every provider and for drawn heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer
from proxy.core.budget import RateRule
from proxy.core.delivery import DeliveryRule, DuplicateRule, TurnRule
from proxy.core.exchange import Admit, decide
from proxy.core.payload import PayloadRule, Pointer
from proxy.core.policy import Exposure, Policy, Route
from proxy.core.record import Arrival, ExchangeRecord, head_to_upstream, note_decision
from proxy.core.recurring import DeliveryPlan, KnownVerdict, plan_of
from proxy.core.request_head import read_request_head
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import TokenCheck, TokenKind, Verification
from proxy.core.signing.scheme import Secret
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from tests.deliveries import MAKERS, NOW, Delivery, check_for, head_of, make
from tests.examples import examples
from tests.net.dialogue import route, signature
from tests.policies import APP, HEAD_LIMITS, policy

PEER = Peer.of("192.0.2.1")
ARRIVAL = Arrival("192.0.2.1", secure=True)


def with_host(delivery: Delivery) -> RequestHead:
    """Its head, as a client of HTTP/1.1 would write it."""
    return head_of(replace(delivery, fields=[("Host", b"hooks.example.com"), ("Accept", b"*/*"), *delivery.fields]))


def admitted(head: RequestHead, rules: Policy, now: float = NOW) -> Admit:
    decision = decide(head, PEER, rules, rules.table, now, trusted=False)
    assert isinstance(decision, Admit)
    return decision


def planned(head: RequestHead, *routes: Route, **changed: Any) -> DeliveryPlan | None:
    rules = policy(*routes, **changed)
    return plan_of(rules, admitted(head, rules), head)


def written(head: RequestHead, admit: Admit, secret: str, size: int) -> tuple[ExchangeRecord, bytes]:
    """The record and the head for the upstream, as they are made for any head."""
    record = ExchangeRecord("id-1", NOW, "192.0.2.1", "192.0.2.1", scheme="https")
    note_decision(record, head, admit)
    record.secret_name = secret
    return record, head_to_upstream(head, admit, record, ARRIVAL, endpoint=APP, length=size, judged=True)


def by_plan(plan: DeliveryPlan, head: RequestHead, secret: str, size: int) -> tuple[ExchangeRecord, bytes]:
    """The same, made by a plan."""
    record = plan.record("id-1", NOW, ARRIVAL, "192.0.2.1", head)
    record.secret_name = secret
    return record, plan.upstream_head(head, record, ARRIVAL, size)


def verdict(verification: Verification | None, body: bytes) -> str | Reason | None:
    return None if verification is None else verification.verify(body)


@pytest.mark.parametrize("slug", sorted(MAKERS))
def test_of_every_provider_a_plan_says_and_writes_the_same(slug: str) -> None:
    provider, first = PROVIDERS[slug], make(slug)
    guard = route(
        first.target.partition(b"?")[0],
        signature=check_for(provider, first.secret),
        provider=slug,
        methods=frozenset({first.method}),
        event_header=provider.event_header,
        delivery_header=provider.delivery_header,
    )
    rules = policy(guard)
    plan = plan_of(rules, admitted(with_host(first), rules), with_host(first))
    assert plan is not None
    assert guard.signature is not None
    assert plan.is_direct is not guard.signature.whole_body
    again = make(slug, NOW + 60, b'{"event":"push"}')
    head = with_host(again)
    admit, begun = admitted(head, rules, NOW + 60), plan.begin(head, NOW + 60)
    assert begun is not None
    assert replace(plan.admit(PEER, begun), verification=None) == replace(admit, verification=None)
    secret = verdict(begun, again.body)
    assert secret == verdict(admit.verification, again.body) == "0"
    assert by_plan(plan, head, secret, len(again.body)) == written(head, admit, secret, len(again.body))
    assert verdict(plan.begin(head, NOW + 60), again.body + b"!") is not secret or not again.covered


# -- drawn heads

NAMES = st.sampled_from(
    [
        *(b"Accept", b"X-GitHub-Event", b"X-GitHub-Delivery", b"User-Agent", b"Traceparent", b"X-Request-Id"),
        *(b"X-Forwarded-For", b"X-Forwarded-User", b"Forwarded", b"Via", b"Cookie", b"X-Original-Url", b"TE"),
        *(b"Keep-Alive", b"Webhook-Verified", b"Webhook-Replay", b"X-Hub-Signature-256", b"Content-Type"),
    ]
)
VALUES = st.one_of(
    st.sampled_from([b"a", b"text/html", b"push", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"close"]),
    st.text("abc.,;=% \"'<>", min_size=1, max_size=12).map(str.strip).filter(bool).map(str.encode),
)


def head_with(fields: list[tuple[bytes, bytes]], connection: bytes, body: bytes) -> RequestHead:
    lines = [b"POST /hook HTTP/1.1", b"Host: h.example", b"X-Hub-Signature-256: " + signature(body)]
    lines += [b"%b: %b" % pair for pair in fields]
    lines += [b"Connection: " + connection, b"Content-Length: %d" % len(body), b"", b""]
    found = read_request_head(b"\r\n".join(lines), HEAD_LIMITS)
    assert found is not None
    return found[0]


@examples(300)
@given(
    names=st.lists(NAMES, max_size=6, unique=True),
    values=st.lists(VALUES, min_size=12, max_size=12),
    connection=st.sampled_from([b"keep-alive", b"close", b"X-GitHub-Event, cookie", b"accept, via, te"]),
    kind=st.sampled_from([{}, {"events": frozenset({"push"})}, {"content_types": frozenset({b"text/html"})}]),
    body=st.binary(max_size=40),
)
def test_of_drawn_heads_a_plan_says_and_writes_the_same(
    names: list[bytes], values: list[bytes], connection: bytes, kind: dict[str, Any], body: bytes
) -> None:
    rules = policy(route(**kind))
    first = head_with(list(zip(names, values[:6], strict=False)), connection, b"{}")
    decision = decide(first, PEER, rules, rules.table, NOW, trusted=False)
    plan = plan_of(rules, decision, first) if isinstance(decision, Admit) else None
    assume(plan is not None)
    assert plan is not None
    head = head_with(list(zip(names, values[6:], strict=False)), connection, body)
    decision = decide(head, PEER, rules, rules.table, NOW, trusted=False)
    begun = plan.begin(head, NOW)
    if begun is None:
        assert not isinstance(decision, Admit), "what would be let in goes by the plan"
        return
    assert isinstance(decision, Admit), "what would be refused does not"
    secret = verdict(begun, body)
    assert secret == verdict(decision.verification, body) == "s1"
    assert by_plan(plan, head, secret, len(body)) == written(head, decision, secret, len(body))
    assert verdict(plan.begin(head, NOW), body + b"!") is Reason.SIGNATURE_MISMATCH


# -- of what there is no plan

FIRST = head_with([], b"keep-alive", b"{}")
TOKEN = TokenCheck(TokenKind.HEADER, b"host", (Secret("t", b"h.example"),))
RULE = DuplicateRule(True, 3600.0, patience_s=9.0, hold_s=92.0)


def test_a_route_with_a_signature_alone_has_a_plan() -> None:
    assert planned(FIRST, route()) is not None


@pytest.mark.parametrize(
    "more",
    [
        {"signed": False},
        {"token": TOKEN},
        {"rate": RateRule(100.0, 100)},
        {"relayed": True},
        {"rewrite": b"/app"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_route_that_asks_for_more_of_a_head_has_none(more: dict[str, Any]) -> None:
    assert planned(FIRST, route(**more)) is None


@pytest.mark.parametrize(
    "more",
    [
        {"duplicates": RULE},
        {"delivery": DeliveryRule()},
        {"turns": TurnRule(concurrency=1)},
        {"observe": True},
        {"handshake": "answer"},
        {"payload": PayloadRule((), Pointer.parse("action"), frozenset({"closed"}))},
        {"upstream": (replace(APP, send_proxy=True),)},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_is_asked_of_a_proved_body_is_asked_by_the_exchange(more: dict[str, Any]) -> None:
    plan, plain = planned(FIRST, route(**more)), planned(FIRST, route())
    assert plan is not None
    assert plain is not None
    assert (plan.is_direct, plain.is_direct) == (False, True)


def test_what_may_be_a_check_of_its_endpoint_has_none() -> None:
    check = PROVIDERS["zoom"].handshake
    assert check is not None
    assert planned(FIRST, route(endpoint_check=check)) is None


def test_a_route_behind_another_one_has_none() -> None:
    strict = route(allow=AddressSet.parse(["203.0.113.1"]))
    assert planned(FIRST, strict, route()) is None


def test_what_needs_no_route_has_none() -> None:
    assert planned(FIRST, route(), exposure=Exposure.OPEN) is None


def test_what_is_too_large_or_has_no_length_does_not_go_by_a_plan() -> None:
    plan = planned(FIRST, route(max_body=3))
    assert plan is not None
    assert plan.begin(head_with([], b"keep-alive", b"{} "), NOW) is not None
    assert plan.begin(head_with([], b"keep-alive", b"{}  "), NOW) is None


@pytest.mark.parametrize("said", ["s1", Reason.SIGNATURE_MISMATCH])
def test_a_known_verdict_is_what_it_was(said: str | Reason) -> None:
    assert KnownVerdict(said).verify(b"anything") is said
    assert KnownVerdict(said).marks() == []
