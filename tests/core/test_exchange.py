"""The order of checks, as a dialogue: what is asked first decides what a stranger learns."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer
from proxy.core.budget import RateLimiter, RateRule
from proxy.core.exchange import Admit, Reject, decide, event_of
from proxy.core.policy import BodyMode, Exposure, Policy, Route, RouteTable
from proxy.core.record import delivery_id_of, provenance_value
from proxy.core.request_head import HeadLimits, read_request_head
from proxy.core.schemes import find
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.http1 import RequestHead
from proxy.reasons import OBSERVABLE, Reason
from tests import policies
from tests.policies import HEAD_LIMITS, limits

NOW = 1_780_000_000.0
KEY = b"a key"
TOKEN = b"a-token"
LIMITS = limits(max_body=1000)
FRIEND, STRANGER = Peer.of("192.0.2.7"), Peer.of("198.51.100.7")
OFFICE = AddressSet.parse(["192.0.2.0/24"])
GITHUB = find("github")
assert GITHUB is not None
assert GITHUB.scheme is not None
SIGNED = SignatureCheck(GITHUB.scheme, (Secret("2026-q4", KEY),))
QUERY = TokenCheck(TokenKind.QUERY, b"token", (Secret("url", TOKEN),))


def route(name: str = "github", **changed: object) -> Route:
    github: dict[str, Any] = {
        "provider": "github",
        "event_header": b"x-github-event",
        "delivery_header": b"x-github-delivery",
    }
    return policies.route(name=name, limits=LIMITS, **github | changed)


CERTIFIED = frozenset({"ci.example.com", "ci"})
RATE = RateRule(per_s=1.0, burst=1)
GUARDED = route(
    allow=OFFICE,
    client_names=frozenset({"ci.example.com", "192.0.2.7"}),
    rate=RATE,
    content_types=frozenset({b"application/json"}),
    token=QUERY,
    signature=SIGNED,
    events=frozenset({"push"}),
)


class Spent(RateLimiter):
    """No bucket has a token."""

    def take(self, key: object, rule: RateRule, now: float) -> float:
        assert (key, rule, now) == (("github", FRIEND.group), RATE, NOW)
        return 0.25


SPENT = Spent()


def policy(*routes: Route, **changed: Any) -> Policy:
    return policies.policy(*routes, limits=LIMITS, **changed)


def ask(
    *routes: Route,
    method: str = "POST",
    target: str = "/hook?token=a-token",
    fields: dict[str, str] | None = None,
    length: str = "Content-Length: 2",
    peer: Peer = FRIEND,
    trusted: bool = False,
    host: str = "hooks.example.com",
    names: frozenset[str] = CERTIFIED,
    rates: RateLimiter | None = None,
    **changed: object,
) -> Admit | Reject:
    """``decide`` on a request that satisfies ``GUARDED`` but for what is said otherwise."""
    if fields is None:
        fields = signed(b"{}")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in fields.items())]
    read = read_request_head("\r\n".join([*lines, *([length] if length else []), "", ""]).encode(), HEAD_LIMITS)
    assert read is not None
    one = policy(*routes, **changed)
    return decide(read[0], peer, one, RouteTable(one.routes), NOW, trusted=trusted, names=names, rates=rates)


def signed(body: bytes, event: str = "push") -> dict[str, str]:
    mac = hmac.new(KEY, body, hashlib.sha256).hexdigest()
    fields = {"X-Hub-Signature-256": f"sha256={mac}", "X-GitHub-Event": event, "X-GitHub-Delivery": "d-1"}
    return fields | {"Content-Type": "application/json"}


def reason(answer: Admit | Reject) -> Reason | None:
    return answer.reason if isinstance(answer, Reject) else None


def test_what_proves_everything_is_admitted() -> None:
    admit = ask(GUARDED)
    assert isinstance(admit, Admit)
    assert (admit.route.name, admit.target, admit.secret_name, admit.observed) == ("github", b"/hook", "url", None)
    assert admit.verification is not None
    assert admit.verification.verify(b"{}") == "2026-q4"


# From the first check to the last: each fault alone, and beaten by every fault before it.
FAULTS: list[tuple[Reason, dict[str, object]]] = [
    (Reason.PATH_NOT_MATCHED, {"target": "/hooks"}),
    (Reason.METHOD_NOT_ALLOWED, {"method": "PUT"}),
    (Reason.ADDRESS_REFUSED, {"peer": STRANGER}),
    (Reason.CLIENT_CERTIFICATE_REFUSED, {"names": frozenset({"other.example.com"})}),
    (Reason.RATE_LIMITED, {"rates": SPENT}),
    (Reason.BODY_TOO_LARGE, {"length": "Content-Length: 1001"}),
    (Reason.CONTENT_TYPE_REFUSED, {"fields": {**signed(b"{}"), "Content-Type": "text/plain"}}),
    (Reason.TOKEN_MISSING, {"target": "/hook"}),
    (Reason.SIGNATURE_MISSING, {"fields": {"X-GitHub-Event": "push", "Content-Type": "application/json"}}),
    (Reason.EVENT_REFUSED, {"fields": signed(b"{}", "ping")}),
]


@pytest.mark.parametrize(("first", "fault"), FAULTS, ids=lambda value: getattr(value, "word", ""))
def test_one_fault(first: Reason, fault: dict[str, object]) -> None:
    assert reason(ask(GUARDED, **fault)) is first


@given(st.sets(st.sampled_from(range(len(FAULTS))), min_size=1))
def test_the_earliest_fault_answers(chosen: set[int]) -> None:
    faults: dict[str, object] = {}
    for index in sorted(chosen, reverse=True):
        faults |= FAULTS[index][1]
    assert reason(ask(GUARDED, **faults)) is FAULTS[min(chosen)][0]


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json;charset=utf-8", True),
        ("application/json \t; q", True),
        ("application/vnd.api+json", True),
        ("application/jsonp", False),
        ("application/json, text/html", False),
        ("text/html; application/json", False),
        ("application", False),
        ("", False),
        (None, False),
    ],
)
def test_the_type_of_the_content(value: str | None, fits: bool) -> None:
    types = frozenset({b"application/json", b"application/vnd.api+json"})
    fields = {} if value is None else {"Content-Type": value}
    answer = ask(route(content_types=types), fields=fields)
    assert reason(answer) is (None if fits else Reason.CONTENT_TYPE_REFUSED)


def test_of_two_content_types_the_application_may_believe_the_other() -> None:
    fields = {"Content-Type": "application/json", "content-type": "text/html"}
    answer = ask(route(content_types=frozenset({b"application/json", b"text/html"})), fields=fields)
    assert reason(answer) is Reason.CONTENT_TYPE_REFUSED


@pytest.mark.parametrize("deny", ["192.0.2.7", "192.0.2.0/24", "all"])
def test_what_is_denied_is_refused_whatever_is_allowed(deny: str) -> None:
    lists = (AddressSet.parse(["198.51.100.0/24"]), AddressSet.parse([deny]))
    for allow in (None, OFFICE, AddressSet.parse(["all"])):
        answer = ask(replace(GUARDED, allow=allow, deny=lists))
        assert isinstance(answer, Reject)
        assert (answer.reason, answer.detail) == (Reason.ADDRESS_REFUSED, "denied")
        assert isinstance(ask(replace(GUARDED, allow=allow, deny=lists[:1])), Admit)


def test_a_refused_request_says_when_there_is_room_again() -> None:
    refused = ask(GUARDED, rates=SPENT)
    assert isinstance(refused, Reject)
    assert refused.retry_s == 0.25


def test_no_length_and_no_chunks() -> None:
    assert reason(ask(GUARDED, length="")) is Reason.LENGTH_REQUIRED
    assert isinstance(ask(GUARDED, length="Transfer-Encoding: chunked"), Admit)
    free = route(body=BodyMode.FREE, methods=frozenset({b"GET"}))
    assert isinstance(ask(free, method="GET", length=""), Admit)


class TestSeveralRoutes:
    first = route("first", token=QUERY)
    second = route("second", token=TokenCheck(TokenKind.QUERY, b"token", (Secret("other", b"other-token"),)))
    below = route("below", path=b"/hook/deep", methods=frozenset({b"PUT"}))

    def test_the_first_whose_conditions_hold_takes_it(self) -> None:
        taken = [ask(self.first, self.second, target=f"/hook?token={token}") for token in ("a-token", "other-token")]
        assert [answer.route.name for answer in taken if isinstance(answer, Admit)] == ["first", "second"]

    def test_the_longest_path_takes_it(self) -> None:
        answer = ask(self.first, self.below, target="/hook/deep", method="PUT")
        assert isinstance(answer, Admit)
        assert answer.route.name == "below"

    @pytest.mark.parametrize("observe", [False, True])
    @pytest.mark.parametrize(("refused", "fault"), FAULTS[1:], ids=lambda value: getattr(value, "word", ""))
    def test_what_the_longest_path_refuses_no_shorter_one_takes(
        self, refused: Reason, fault: dict[str, object], observe: bool
    ) -> None:
        open_above = [route("root", path=b"/", observe=observe), route("above", path=b"/hook", observe=observe)]
        guarded = replace(GUARDED, path=b"/hook/deep")
        target = str(fault.get("target", "/hook?token=a-token")).replace("/hook", "/hook/deep")
        for routes in ((*open_above, guarded), (guarded, *open_above)):
            answer = ask(*routes, **(fault | {"target": target}))
            assert isinstance(answer, Reject)
            assert (answer.reason, answer.route) == (refused, guarded)

    def test_the_refusal_is_that_of_the_route_that_came_furthest(self) -> None:
        far = route("far", signature=SIGNED, allow=OFFICE)
        near = route("near", allow=AddressSet.parse(["203.0.113.0/24"]))
        for routes in ((far, near), (near, far)):
            answer = ask(*routes, fields={})
            assert isinstance(answer, Reject)
            assert (answer.reason, answer.route and answer.route.name) == (Reason.SIGNATURE_MISSING, "far")

    @pytest.mark.parametrize(
        ("fields", "target", "told"),
        [
            ({"X-Gitlab-Token": "guess"}, "/hook", ("header", Reason.TOKEN_MISMATCH)),
            ({}, "/hook?token=guess", ("query", Reason.TOKEN_MISMATCH)),
            ({"X-Hub-Signature-256": "guess"}, "/hook", ("signed", Reason.SIGNATURE_MALFORMED)),
            ({"X-Hub-Signature-256": "guess"}, "/hook?token=", ("signed", Reason.SIGNATURE_MALFORMED)),
            ({}, "/hook", ("signed", Reason.SIGNATURE_MISSING)),
            (signed(b"{}", "ping"), "/hook", ("signed", Reason.EVENT_REFUSED)),
        ],
    )
    def test_the_refusal_is_that_of_the_route_whose_evidence_was_there(
        self, fields: dict[str, str], target: str, told: tuple[str, Reason]
    ) -> None:
        gitlab = TokenCheck(TokenKind.HEADER, b"x-gitlab-token", (Secret("gitlab", b"word"),))
        routes = [
            route("header", token=gitlab),
            route("query", token=QUERY),
            route("signed", signature=SIGNED, events=frozenset({"push"})),
        ]
        for several in (routes, routes[::-1]):
            answer = ask(*several, fields=fields, target=target)
            assert isinstance(answer, Reject)
            assert answer.route is not None
            assert (answer.route.name, answer.reason) == told

    @pytest.mark.parametrize(
        ("fields", "trusted", "word"),
        [
            ({}, False, "not_listed"),
            ({"X-Forwarded-For": "192.0.2.1"}, False, "untrusted_proxy"),
            ({"Forwarded": "for=192.0.2.1"}, False, "untrusted_proxy"),
            ({"X-Real-IP": "192.0.2.1"}, False, "untrusted_proxy"),
            ({"X-Forwarded-For": "198.51.100.99"}, True, "not_listed"),
        ],
    )
    def test_why_an_address_is_refused(self, fields: dict[str, str], word: str, *, trusted: bool) -> None:
        proxies = AddressSet.parse(["198.51.100.7"] if trusted else [])
        peer = Peer.of("198.51.100.7")
        answer = ask(
            route(allow=OFFICE, token=QUERY), peer=peer, trusted=trusted, trusted_proxies=proxies, fields=fields
        )
        assert isinstance(answer, Reject)
        assert answer.reason is Reason.ADDRESS_REFUSED
        assert answer.fault is not None
        assert answer.fault.word == word

    def test_evidence_of_a_sender_from_elsewhere_is_told_as_its_address(self) -> None:
        listed = route("listed", token=QUERY, allow=OFFICE)
        answer = ask(listed, route("signed", signature=SIGNED), peer=STRANGER, fields={})
        assert isinstance(answer, Reject)
        assert (answer.reason, answer.route) == (Reason.ADDRESS_REFUSED, listed)

    def test_a_route_of_another_method_does_not_answer_for_one_that_was_asked(self) -> None:
        other = route("other", token=QUERY, methods=frozenset({b"PUT"}))
        answer = ask(other, route("signed", signature=SIGNED), fields={})
        assert reason(answer) is Reason.SIGNATURE_MISSING

    def test_allow_names_the_methods_of_all(self) -> None:
        other = route("other", methods=frozenset({b"PUT"}))
        answer = ask(self.first, other, self.below, method="DELETE")
        assert isinstance(answer, Reject)
        assert answer.allow == (b"POST", b"PUT")
        answer = ask(self.first, self.below, target="/hook/deep", method="DELETE")
        assert isinstance(answer, Reject)
        assert answer.allow == (b"PUT",)

    def test_a_rate_is_told_to_the_sender_that_it_refuses_alone(self) -> None:
        answer = ask(replace(GUARDED, token=None), route("query", token=QUERY), rates=SPENT, target="/hook?token=guess")
        assert isinstance(answer, Reject)
        assert (answer.reason, answer.retry_s) == (Reason.TOKEN_MISMATCH, 0.0)


class TestObserve:
    @pytest.mark.parametrize(("would_be", "fault"), FAULTS, ids=lambda value: getattr(value, "word", ""))
    def test_the_guard_is_counted_and_the_rest_enforced(self, would_be: Reason, fault: dict[str, object]) -> None:
        answer = ask(replace(GUARDED, observe=True), **fault)
        if would_be in OBSERVABLE:
            assert isinstance(answer, Admit)
            assert answer.observed is would_be
            assert provenance_value(answer, "2026-q4", "d-1") == b""
        else:
            assert reason(answer) is would_be

    @given(st.sets(st.sampled_from(range(len(FAULTS))), min_size=1))
    def test_whatever_else_fails_the_earliest_enforced_fault_answers(self, chosen: set[int]) -> None:
        faults: dict[str, object] = {}
        for index in sorted(chosen, reverse=True):
            faults |= FAULTS[index][1]
        told = [FAULTS[index][0] for index in sorted(chosen)]
        enforced = [one for one in told if one not in OBSERVABLE]
        answer = ask(replace(GUARDED, observe=True), **faults)
        assert reason(answer) is (enforced[0] if enforced else None)
        if isinstance(answer, Admit):
            assert (answer.observed, answer.target) == (told[0], b"/hook")

    @given(st.sampled_from([None, OFFICE, AddressSet.parse(["203.0.113.0/24", "2001:db8::/32", "unix:"])]), st.data())
    def test_no_address_outside_the_list_ever_passes(self, allow: AddressSet | None, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from([FRIEND, STRANGER, Peer.of("2001:db8::7"), Peer.unix()]))
        fault = data.draw(
            st.sampled_from([fault for _, fault in FAULTS if "peer" not in fault and "target" not in fault])
        )
        answer = ask(replace(GUARDED, allow=allow, rate=None, observe=True), **(fault | {"peer": peer}))
        if allow is not None and peer not in allow:
            assert isinstance(answer, Reject)


class TestExposure:
    open_route = route(body=BodyMode.FREE)
    loopback = Peer.of("127.0.0.1")

    def local(self, **options: object) -> Admit | Reject:
        options = {"peer": self.loopback, "host": "localhost:8080", "fields": {}} | options
        return ask(self.open_route, exposure=Exposure.LOCAL, **options)

    def test_local_only_comes_before_the_routes(self) -> None:
        assert isinstance(self.local(), Admit)
        for fault, detail in (({"fields": {"Via": "1.1 a"}}, "forwarding_field"), ({"peer": FRIEND}, "not_loopback")):
            answer = self.local(**fault, target="/elsewhere")
            assert isinstance(answer, Reject)
            assert (answer.reason, answer.detail, answer.route) == (Reason.ADDRESS_REFUSED, detail, None)

    def test_open(self) -> None:
        answer = ask(self.open_route, exposure=Exposure.OPEN, peer=STRANGER, fields={"Via": "1.1 a"})
        assert isinstance(answer, Admit)


class TestTrustedProxy:
    proxies = AddressSet.parse(["10.0.0.0/8"])
    peer = Peer.of("10.0.0.1")

    def through(self, forwarded_for: str, *, trusted: bool = True, **changed: object) -> Admit | Reject:
        return ask(
            route(allow=OFFICE, body=BodyMode.FREE),
            peer=self.peer,
            trusted=trusted,
            fields={"X-Forwarded-For": forwarded_for},
            trusted_proxies=self.proxies,
            **changed,
        )

    def test_the_named_client_is_judged(self) -> None:
        answer = self.through("203.0.113.9, 192.0.2.9, 10.9.9.9")
        assert isinstance(answer, Admit)
        assert answer.client.text == "192.0.2.9"

    def test_what_the_client_wrote_itself_does_not_count(self) -> None:
        assert reason(self.through("192.0.2.9, 203.0.113.9")) is Reason.ADDRESS_REFUSED
        assert reason(self.through("192.0.2.9", trusted=False)) is Reason.ADDRESS_REFUSED

    def test_the_top_levels_addresses_are_judged_again(self) -> None:
        elsewhere = AddressSet.parse(["203.0.113.0/24"])
        assert reason(self.through("192.0.2.9", allow=elsewhere)) is Reason.ADDRESS_REFUSED


def test_a_provider_may_demand_another_status() -> None:
    answer = ask(replace(GUARDED, refusal_status=401), fields={"Content-Type": "application/json"})
    assert isinstance(answer, Reject)
    assert answer.status == 401
    other = ask(replace(GUARDED, refusal_status=401), method="PUT")
    assert isinstance(other, Reject)
    assert other.status is None


class TestProvenance:
    def admit(self) -> Admit:
        answer = ask(GUARDED)
        assert isinstance(answer, Admit)
        return answer

    @pytest.mark.parametrize(
        ("secret", "delivery", "value"),
        [
            ("2026-q4", "d-1", b"github; secret=2026-q4; id=d-1"),
            ("", "d-1", b"github; id=d-1"),
            ("2026-q4", "", b"github; secret=2026-q4"),
            ("2026-q4", "d; secret=forged", b"github; secret=2026-q4"),
            ("2026-q4", "d\r\nX: 1", b"github; secret=2026-q4"),
            ("2026-q4", "x" * 129, b"github; secret=2026-q4"),
        ],
    )
    def test_what_was_proved(self, secret: str, delivery: str, value: bytes) -> None:
        assert provenance_value(self.admit(), secret, delivery) == value

    def test_nothing_was_proved(self) -> None:
        answer = ask(route(body=BodyMode.FREE))
        assert isinstance(answer, Admit)
        assert provenance_value(answer, "", "d-1") == b""

    def test_event_and_delivery_are_read_from_the_head(self) -> None:
        read = read_request_head(
            b"POST / HTTP/1.1\r\nHost: a\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: d\r\n\r\n",
            HeadLimits(1000, 1000, 10),
        )
        assert read is not None
        head: RequestHead = read[0]
        assert (event_of(head, GUARDED), delivery_id_of(head, GUARDED)) == ("push", "d")
        bare = replace(GUARDED, event_header=None, delivery_header=None)
        assert (event_of(head, bare), delivery_id_of(head, bare)) == ("", "")


@pytest.mark.parametrize(
    ("why", "asked"),
    [
        (Reason.PATH_NOT_MATCHED, {"target": "/elsewhere"}),
        (Reason.METHOD_NOT_ALLOWED, {"method": "GET"}),
        (Reason.ADDRESS_REFUSED, {"fields": {"X-Forwarded-For": "198.51.100.7"}}),
        (Reason.CLIENT_CERTIFICATE_REFUSED, {"names": frozenset()}),
        (Reason.RATE_LIMITED, {"rates": SPENT}),
        (Reason.LENGTH_REQUIRED, {"length": ""}),
        (Reason.BODY_TOO_LARGE, {"length": "Content-Length: 1001"}),
        (Reason.TOKEN_MISSING, {"target": "/hook"}),
        (Reason.CONTENT_TYPE_REFUSED, {"fields": {}}),
        (Reason.SIGNATURE_MISSING, {"fields": {"Content-Type": "application/json"}}),
        (Reason.EVENT_REFUSED, {"fields": signed(b"{}", "release")}),
    ],
    ids=lambda value: value.word if isinstance(value, Reason) else "",
)
def test_a_refusal_knows_its_client_and_its_route(why: Reason, asked: dict[str, object]) -> None:
    """Behind a trusted proxy the client is not the peer: address, log and rate must all speak of the same one."""
    named = asked.get("fields", signed(b"{}"))
    assert isinstance(named, dict)
    answer = ask(
        GUARDED,
        peer=Peer.of("10.0.0.1"),
        trusted=True,
        trusted_proxies=AddressSet.parse(["10.0.0.0/8"]),
        **(asked | {"fields": {"X-Forwarded-For": FRIEND.text} | named}),
    )
    assert isinstance(answer, Reject)
    assert answer.reason is why
    assert answer.client == (STRANGER if why is Reason.ADDRESS_REFUSED else FRIEND)
    assert answer.route is (None if why is Reason.PATH_NOT_MATCHED else GUARDED)


def test_local_only_and_the_listeners_own_list_name_the_client_as_well() -> None:
    for changed in ({"exposure": Exposure.LOCAL}, {"allow": AddressSet.parse(["203.0.113.0/24"])}):
        answer = ask(
            GUARDED,
            peer=Peer.of("10.0.0.1"),
            trusted=True,
            trusted_proxies=AddressSet.parse(["10.0.0.0/8"]),
            fields={"X-Forwarded-For": FRIEND.text},
            **changed,
        )
        assert isinstance(answer, Reject)
        assert (answer.reason, answer.client, answer.route) == (Reason.ADDRESS_REFUSED, FRIEND, None)


def test_of_two_routes_that_came_as_far_the_first_one_refuses() -> None:
    first, second = route("first", token=QUERY), route("second", token=QUERY)
    answer = ask(first, second, target="/hook?token=guess")
    assert isinstance(answer, Reject)
    assert answer.route is first
    answer = ask(first, replace(second, token=None, signature=SIGNED), target="/hook", fields={})
    assert isinstance(answer, Reject)
    assert answer.reason is Reason.SIGNATURE_MISSING


@pytest.mark.parametrize(("version", "admitted"), [("1.1", True), ("1.0", False)])
def test_a_post_without_a_length(version: str, admitted: bool) -> None:
    """In HTTP/1.1 it has no content (RFC 9112 section 6.3); in HTTP/1.0 its content may be cut off unnoticed."""
    read = read_request_head(f"POST /hook HTTP/{version}\r\nHost: a\r\n\r\n".encode(), HEAD_LIMITS)
    assert read is not None
    one = policy(route(allow=OFFICE))
    answer = decide(read[0], FRIEND, one, RouteTable(one.routes), NOW, trusted=False)
    assert isinstance(answer, Admit) is admitted
    if not admitted:
        assert reason(answer) is Reason.LENGTH_REQUIRED


def test_a_body_of_exactly_the_limit_is_admitted() -> None:
    assert isinstance(ask(GUARDED, length="Content-Length: 1000"), Admit)


def test_tokens_have_their_dates() -> None:
    for until, admitted in ((NOW + 1, True), (NOW, False)):
        dated = TokenCheck(TokenKind.QUERY, b"token", (Secret("url", TOKEN, not_after=until),))
        assert isinstance(ask(route(token=dated)), Admit) is admitted


def test_a_delivery_without_names() -> None:
    read = read_request_head(b"POST /hook HTTP/1.1\r\nHost: a\r\n\r\n", HEAD_LIMITS)
    assert read is not None
    assert (event_of(read[0], route()), delivery_id_of(read[0], route())) == ("", "")


def test_either_proof_is_vouched_for() -> None:
    for one in (route(token=QUERY), route(signature=SIGNED)):
        admit = ask(one)
        assert isinstance(admit, Admit)
        assert provenance_value(admit, "s", "d") == b"github; secret=s; id=d"
