"""The compiled configuration: values that do not change, keys of the pool, texts without secrets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from proxy.core.policy import BodyMode, Endpoint, Exposure, Limits, Policy, Route, ServerLimits, UpstreamTls
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind
from proxy.core.signing.scheme import Scheme, Secret, Timestamp
from tests.policies import policy, route, server_limits

ROUTE = route(name="meta", path=b"/meta", verify_token=b"hunter2")


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (Endpoint("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (Endpoint("app.internal", 8443, tls=UpstreamTls()), "https://app.internal:8443"),
        (Endpoint("2001:db8::1", 80), "http://[2001:db8::1]:80"),
        (Endpoint("", 0, path="/run/app.sock"), "unix:/run/app.sock"),
    ],
)
def test_an_endpoint_reads_as_it_is_configured(endpoint, text):
    assert str(endpoint) == text


def test_connections_are_shared_only_where_all_of_the_endpoint_agrees():
    different = [
        Endpoint("app", 443),
        Endpoint("app", 444),
        Endpoint("app", 443, tls=UpstreamTls()),
        Endpoint("app", 443, tls=UpstreamTls(ca_file="/a")),
        Endpoint("app", 443, tls=UpstreamTls(server_name="other")),
        Endpoint("app", 443, tls=UpstreamTls(cert_file="/c", key_file="/k")),
        Endpoint("", 0, path="/run/app.sock"),
    ]
    assert len(set(different)) == len({hash(endpoint) for endpoint in different}) == len(different)
    assert Endpoint("app", 443, tls=UpstreamTls(ca_file="/a")) == Endpoint("app", 443, tls=UpstreamTls(ca_file="/a"))


def test_the_verify_token_is_never_shown():
    assert "hunter2" not in repr(ROUTE)
    assert "meta" in repr(ROUTE)


def test_a_route_guards_nothing_by_accident():
    # What is left out must not be weaker than what is written: these defaults forward and refuse as they stand.
    assert (ROUTE.handshake, ROUTE.hold_s, ROUTE.refusal_status) == ("forward", 0.0, None)
    assert (ROUTE.event_header, ROUTE.delivery_header, ROUTE.provider) == (None, None, "")


@pytest.mark.parametrize("kind", [Limits, ServerLimits, UpstreamTls, Endpoint, Route, Policy])
def test_all_of_a_policy_is_immutable(kind):
    with pytest.raises(FrozenInstanceError):
        object.__new__(kind).port = 1
    assert "__slots__" in vars(kind)


def test_the_closed_sets_have_the_words_of_the_configuration():
    assert [mode.value for mode in BodyMode] == ["free", "tail", "hold"]
    assert [exposure.value for exposure in Exposure] == ["routes", "local", "open"]


@pytest.mark.parametrize(("share", "most", "open_to"), [(0, 10, 10), (10, 10000, 9000), (50, 5, 3), (90, 100, 10)])
def test_strangers_leave_a_share(share, most, open_to):
    left = server_limits(reserved_share=share).open_to_strangers(most)
    assert (left, type(left)) == (open_to, int)


def test_what_a_guard_reads_is_guarded():
    scheme = Scheme((b"x-sig",), timestamp=Timestamp(b"x-time"))
    route = replace(
        ROUTE,
        event_header=b"x-event",
        delivery_header=b"x-delivery",
        signature=SignatureCheck(scheme, (Secret("a", b"k"),)),
        token=TokenCheck(TokenKind.HEADER, b"x-token", (Secret("a", b"k"),)),
    )
    assert route.guarded_fields == {b"x-event", b"x-delivery", b"x-sig", b"x-time", b"x-token"}
    assert ROUTE.guarded_fields == frozenset()
    check = next(p.handshake for p in PROVIDERS.values() if p.handshake is not None and p.handshake.header_names)
    asked = replace(route, endpoint_check=check)
    assert asked.guarded_fields == route.guarded_fields | check.header_names


def test_a_route_knows_whether_one_of_its_endpoints_is_told_the_client():
    plain, told = Endpoint("127.0.0.1", 9000), Endpoint("127.0.0.1", 9001, send_proxy=True)
    assert replace(ROUTE, upstream=(plain, told)).sends_proxy is True
    assert replace(ROUTE, upstream=(plain, plain)).sends_proxy is False


def test_the_endpoints_of_all_routes():
    other = Endpoint("127.0.0.1", 9000)
    two = policy(ROUTE, replace(ROUTE, name="b", upstream=(other,), drained=(Endpoint("127.0.0.1", 9001),)))
    assert two.endpoints() == {*ROUTE.upstream, other}


@pytest.mark.parametrize(
    ("hold_s", "answer_s", "waited_s", "left_s"),
    [
        (8.0, 10.0, 0.0, 8.0),
        (8.0, 10.0, 4.0, 5.0),
        (8.0, 10.0, 9.5, -0.5),
        (8.0, 0.0, 70.0, 8.0),
        (0.0, 10.0, 0.0, 0.0),
    ],
)
def test_a_delivery_waits_no_longer_than_its_sender(hold_s, answer_s, waited_s, left_s):
    assert replace(ROUTE, hold_s=hold_s, answer_s=answer_s).patience_s(waited_s) == left_s
