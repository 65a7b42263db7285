"""What is told of a request: to the log, to the upstream, and to whoever looks for duplicates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.delivery import DuplicateRule, Keys, keys_of
from proxy.core.exchange import Admit, Reject
from proxy.core.handshakes import EndpointCheck
from proxy.core.record import ExchangeRecord, delivery_keys, note_decision, verified_value
from proxy.core.request_head import read_request_head
from proxy.core.schemes import find
from proxy.http1 import RequestHead
from proxy.reasons import Reason
from tests.core.test_exchange import FRIEND, QUERY, SIGNED, route
from tests.policies import HEAD_LIMITS

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FIELDS = (
    "User-Agent: Caf\xe9/1",
    f"Traceparent: 00-{TRACE[0]}-{TRACE[1]}-01",
    "X-GitHub-Event: push",
    "X-GitHub-Delivery: 72d3162e",
)
RULE = DuplicateRule(remembers=True, window_s=60, patience_s=5, hold_s=10)


def head(*fields: str, line: str = "POST /hook?a=1 HTTP/1.1") -> RequestHead:
    text = "\r\n".join([line, "Host: hooks.example.com:8443", *fields, "", ""])
    read = read_request_head(text.encode("latin-1"), HEAD_LIMITS)
    assert read is not None
    return read[0]


def record(**known: object) -> ExchangeRecord:
    return replace(ExchangeRecord("id-1", 1.0, "192.0.2.7", "192.0.2.7"), **known)


class Proven:
    """A verification that has left these marks."""

    def marks(self) -> list[bytes]:
        return [b"a mark"]


def test_what_is_written_down_of_an_admitted_request():
    noted = record()
    note_decision(
        noted, head(*FIELDS, line="POST /hook?a=1 HTTP/1.0"), Admit(route(), FRIEND, b"/hook", secret_name="s")
    )
    assert noted == record(
        method="POST",
        path="/hook",
        host="hooks.example.com:8443",
        minor=0,
        user_agent="Caf\xe9/1",
        trace_id=TRACE[0],
        span_id=TRACE[1],
        route="github",
        provider="github",
        event="push",
        delivery_id="72d3162e",
        secret_name="s",
    )


def test_what_is_written_down_where_nothing_is_said_and_no_route_is_known():
    noted = record()
    note_decision(noted, head(), Reject(Reason.PATH_NOT_MATCHED, FRIEND))
    assert noted == record(method="POST", path="/hook", host="hooks.example.com:8443", minor=1)


def test_a_check_is_noted_as_forwarded_and_a_refusal_has_no_secret():
    noted = record()
    note_decision(noted, head(), Admit(route(), FRIEND, b"/hook", check=EndpointCheck("")))
    assert (noted.handshake, noted.secret_name, noted.event, noted.delivery_id) == ("forwarded", "", "", "")
    noted = record()
    note_decision(noted, head(*FIELDS), Reject(Reason.SIGNATURE_MISMATCH, FRIEND, route(name="other")))
    assert (noted.route, noted.handshake, noted.secret_name, noted.bare) == ("other", "", "", False)


@pytest.mark.parametrize("slug", ["xero", "asana", "discord", "github"])
def test_a_refusal_is_bare_where_the_provider_demands_it(slug: str):
    provider = find(slug)
    assert provider is not None
    noted = record()
    note_decision(noted, head(), Reject(Reason.TOKEN_MISSING, FRIEND, route(endpoint_check=provider.handshake)))
    assert noted.bare is (slug == "xero")


@pytest.mark.parametrize(
    ("admit", "known", "judged", "value"),
    [
        pytest.param(
            Admit(route(signature=SIGNED), FRIEND, b"/"), {"secret_name": "o"}, True, b"github; secret=o", id="judged"
        ),
        pytest.param(
            Admit(route(signature=SIGNED), FRIEND, b"/"), {"delivery_id": "d"}, False, b"", id="not judged"
        ),
        pytest.param(
            Admit(route(token=QUERY), FRIEND, b"/"), {"secret_name": "url"}, True, b"github; secret=url", id="a token"
        ),
        pytest.param(Admit(route(token=QUERY), FRIEND, b"/"), {}, True, b"github", id="a token without a name"),
        pytest.param(Admit(route(), FRIEND, b"/"), {"secret_name": "x"}, True, b"", id="nothing proved"),
        pytest.param(
            Admit(route(signature=SIGNED), FRIEND, b"/", observed=Reason.EVENT_REFUSED), {}, True, b"", id="observed"
        ),
    ],
)  # fmt: skip
def test_the_upstream_is_told_what_was_proved(admit: Admit, known: dict[str, str], judged: bool, value: bytes):
    assert verified_value(admit, record(**known), judged=judged) == value


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_has_no_keys(method: str):
    admit = Admit(route(), FRIEND, b"/hook", verification=Proven())
    assert delivery_keys(RULE, head(line=f"{method} /hook HTTP/1.1"), admit, record(delivery_id="d")) == Keys((), ())


def test_a_delivery_is_told_by_its_marks_and_its_id():
    admit = Admit(route(), FRIEND, b"/hook", verification=Proven())
    unsigned = Admit(route(), FRIEND, b"/hook")
    noted = record(delivery_id="d")
    by_id = replace(RULE, by_signature=False)
    assert delivery_keys(RULE, head(), admit, noted) == keys_of(RULE, "github", b"/hook", "d", [b"a mark"])
    assert delivery_keys(RULE, head(), unsigned, noted) == keys_of(RULE, "github", b"/hook", "d", ())
    assert delivery_keys(by_id, head(), admit, noted) == keys_of(by_id, "github", b"/hook", "d", ())
    assert delivery_keys(RULE, head(), admit, record()) == keys_of(RULE, "github", b"/hook", "", [b"a mark"])
    assert len({delivery_keys(RULE, head(), one, noted) for one in (admit, unsigned)}) == 2
