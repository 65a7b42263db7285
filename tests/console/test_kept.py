"""A kept exchange as the API shows it: as the document says, whatever came."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.kept import Masking, detail, evidence_of, form_of, searched, sentence, summary
from proxy.core.search import parse_query
from proxy.reasons import Reason
from tests.console.kept import NOW, keep, post, signed_route
from tests.console.test_document import judge
from tests.policies import policy

ROUTE = signed_route()
MASKING = Masking(ROUTE)


@given(st.binary(max_size=100), st.sampled_from([b"", b"application/json", b"application/x-www-form-urlencoded"]))
def test_whatever_came_is_shown_as_the_document_says(body: bytes, kind: bytes) -> None:
    fields = {b"Content-Type": kind, b"X-Hub-Signature-256": b"sha256=" + b"0" * 64} if kind else {}
    for kept in (keep(*post(b"/hook?a=1", fields, body), route=ROUTE, status=200), keep(None, body, verdict="refused")):
        kept.take_answer([body])
        shown = {**detail(kept, MASKING), **evidence_of(kept, policy(ROUTE)), "replays": []}
        judge(json.loads(json.dumps(shown)), "Delivery")
        judge(json.loads(json.dumps(summary(kept))), "Summary")
        assert shown["request"]["body"]["kept"] == len(MASKING.body(body))


@pytest.mark.parametrize(
    ("body", "kind", "form"),
    [
        (b'{"a":1}', b"application/json", "json"),
        (b'{"a":1}', b"", "json"),
        (b'{"a":', b"application/json", "text"),
        (b"a=1&b=2", b"application/x-www-form-urlencoded", "form"),
        (b"hello\n", b"", "text"),
        (b"\x00\x01", b"", "hex"),
        (b"\xff\xfe", b"application/json", "hex"),
        ("é".encode() * 200_000, b"", "text"),
        (b"[" * 100_000, b"", "text"),
        (b"", b"", "text"),
    ],
    ids=range(10),
)
def test_as_what_a_body_is_best_shown(body: bytes, kind: bytes, form: str) -> None:
    assert form_of(body, kind) == form


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (
            {"status": 200, "secret_name": "q4"},
            "Admitted by the route github with the secret q4; the application answered",
        ),
        (
            {"verdict": "refused", "reason": Reason.SIGNATURE_MISMATCH, "status": 403},
            "Refused by the route github with 403",
        ),
        (
            {"verdict": "observed", "observed": Reason.TOKEN_MISSING},
            "Passed on by the route github, which only observes",
        ),
        ({"verdict": "", "reason": Reason.SENDER_GONE}, "Ended by the route github by the sender before a verdict"),
        ({"reason": Reason.HANDSHAKE_ANSWERED}, "an endpoint check of the provider"),
        ({"reason": Reason.UPSTREAM_TIMEOUT}, "upstream timeout"),
    ],
)
def test_the_verdict_in_a_sentence(record: dict[str, object], says: str) -> None:
    assert says in sentence(keep(*post(), route=ROUTE, **record))


def test_search_words_look_at_what_is_shown() -> None:
    kept = keep(*post(b"/hook?token=abcdefgh", {b"X-A": b"Needle"}, b'{"word":"Hay"}'), route=ROUTE, status=503)
    for query, found in (
        ("needle", True),
        ("hay route:github status:5xx", True),
        ("ip:192.0.2.0/24 method:post path:/hook", True),
        (f"id:{kept.record.request_id}", True),
        (kept.id, True),
        ("abcdefgh", False),
    ):
        words = parse_query(query, NOW)
        assert words.matches(searched(kept, MASKING, text=bool(words.texts))) is found, query


@pytest.mark.parametrize(
    ("upstream", "agent"), [("agent:ci/host-1a2b3c", "ci"), ("http://127.0.0.1:80", ""), ("agent:8080", ""), ("", "")]
)
def test_through_which_agent(upstream: str, agent: str) -> None:
    """A host may be called so, too."""
    kept = keep(*post(), route=ROUTE, upstream=upstream)
    assert summary(kept)["agent"] == agent
    for query, found in (("agent:ci", agent == "ci"), ("agent:other", False), ("-agent:ci", agent != "ci")):
        assert parse_query(query, NOW).matches(searched(kept, MASKING, text=False)) is found


def test_a_head_is_written_as_it_came() -> None:
    head, _ = post(b"/hook?a=1", {b"X-A": b"b"})
    kept = keep(head)
    assert kept.head is not None
    assert kept.raw == head


def test_what_is_not_kept_whole_says_so() -> None:
    assert not keep(*post(body=b"x" * 50), room=10).is_whole
    assert keep(*post(body=b"x")).is_whole
    assert keep(*post(body=b"x"), bytes_in=0).is_whole, "refused by its head"
    assert not keep(post(body=b"x")[0], b"", bytes_in=0).is_whole, "and not read"
    assert keep(None, b"x", number=255, tag="ab").id.endswith("-ab-ff")
