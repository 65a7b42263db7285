"""Deliveries as the pages of providers show them, pasted, and what their payloads may have been."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Mistake
from proxy.tools import explain
from proxy.tools.pasted import is_written_for_people, read_page, written_otherwise
from proxy.tools.saved_delivery import read_saved

KEY = b"0123456789abcdef0123456789abcdef"
EVENT = {"zen": "Keep it logically awesome.", "hook": {"id": 1, "name": "Zo\u00eb", "list": [], "of": {}}, "n": 1.50}
SENT = json.dumps(EVENT, separators=(",", ":"), ensure_ascii=False).encode()
SHOWN = json.dumps(EVENT, indent=2, ensure_ascii=False)


def mac(body: bytes) -> str:
    return hmac.new(KEY, body, hashlib.sha256).hexdigest()


GITHUB = f"""Headers

Request URL: https://hooks.example.com/hooks/github
Request method: POST
Accept: */*
Content-Type: application/json
User-Agent: GitHub-Hookshot/9c82d0e
X-GitHub-Delivery: f4bcdfe8-2295-11ef-8ed5-28dc39613684
X-GitHub-Event: push
X-GitHub-Hook-ID: 477036818
X-Hub-Signature-256: sha256=%s

Payload

{SHOWN}
"""
GITLAB = f"""Request details
POST https://hooks.example.com/hooks/gitlab
Response
200
Response headers:
Content-Type: text/plain
Response body:
{{"not": "this"}}
Request headers:
Content-Type: application/json
X-Gitlab-Event: Push Hook
X-Gitlab-Token: {KEY.decode()}
Request body:
{SHOWN}
"""
STRIPE = f"""Webhook URL https://hooks.example.com/hooks/stripe
200 OK
Mar 1, 2026, 9:15:02 AM
Request
{SHOWN}
Response
HTTP status code
200
"""
FORGEJO = f"""```http
Headers
Request URL: https://hooks.example.com/hooks/forgejo
Request method: POST
Content-Type: application/json
X-Forgejo-Event: push
X-Forgejo-Signature: {mac(SHOWN.encode())}
```

**Content:**
Content
{SHOWN}
"""


def run(folder: Path, provider: str, text: str, *argv: str) -> int:
    (folder / "secret").write_bytes(KEY)
    (folder / "secret").chmod(0o600)
    (folder / "page.txt").write_text(text)
    return explain.main([str(folder / "page.txt"), "--provider", provider, "--secret-file", f"{folder}/secret", *argv])


@pytest.mark.parametrize(
    ("provider", "text", "said"),
    [
        ("github", GITHUB % mac(SENT), "written as it was sent, it matches"),
        ("github", GITHUB % mac(SHOWN.encode()), "admitted by the route"),
        ("gitlab", GITLAB, "admitted by the route"),
        ("forgejo", FORGEJO, "admitted by the route"),
    ],
    ids=["github", "github that sends it so", "gitlab", "forgejo"],
)
def test_they_are_judged(
    tmp_path: Path, provider: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, provider, text) == 0
    out = capsys.readouterr().out
    assert "Delivery: a provider's page" in out
    assert said in out
    assert f"POST /hooks/{provider}" in out


def test_the_form_that_github_sends_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (GITHUB % mac(b"payload=" + quote_plus(SENT).encode())).replace("json", "x-www-form-urlencoded")
    assert run(tmp_path, "github", text) == 0
    assert "it matches" in capsys.readouterr().out


def test_a_payload_that_is_another_one_is_called_pretty_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "github", GITHUB % mac(b"other")) == 1
    out = capsys.readouterr().out
    assert "payload_pretty: The payload is pretty-printed here, and so not what was signed" in out
    assert "gateway" not in out


def test_a_recorded_body_that_was_formatted_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = f"POST /hooks HTTP/1.1\nHost: h\nX-Hub-Signature-256: sha256={mac(SENT)}\n\n"
    assert run(tmp_path, "github", head + SHOWN) == 1
    assert "payload_pretty: The payload is pretty-printed here" in capsys.readouterr().out


def test_stripes_page_has_no_signature_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "stripe", STRIPE) == 1
    out = capsys.readouterr().out
    assert "the page shows no headers" in out
    assert "refused: signature_missing" in out
    signed = f"Stripe-Signature: t=1772356502,v1={mac(b'1772356502.' + SHOWN.encode())}\nRequest\n"
    assert run(tmp_path, "stripe", STRIPE.replace("Request\n", signed), "--at", "1772356502") == 0


def test_what_a_page_hides_is_named() -> None:
    page = read_page(GITLAB.replace(KEY.decode(), "[REDACTED]"))
    assert page is not None
    assert page.notes == ["the page hides the value of X-Gitlab-Token, which is needed: put it there"]


def test_a_payload_alone_is_told_what_is_missing() -> None:
    with pytest.raises(Mistake, match="a payload alone"):
        read_saved(SHOWN.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), JSON, min_size=1, max_size=5), st.integers(1, 4), st.booleans())
def test_what_was_sent_is_among_the_texts(value: dict[str, object], indent: int, ascii_only: bool) -> None:
    """However the sender wrote it, if it wrote it compactly and the page shows the same characters."""
    sent = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
    shown = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    body = shown.encode("utf-8", "surrogatepass")
    if is_written_for_people(body):
        assert sent.encode("utf-8", "surrogatepass") in list(written_otherwise(body))


LINES = st.sampled_from(
    [
        *("Headers", "Payload", "Request body:", "Response body:", "Request URL: https://h.example/in", "X-Sig: ab"),
        *(
            '{"a": 1}',
            "[[[",
            '"',
            "\\",
            "payload=%7B%7D",
            "POST https://h.example/\udce9",
            "a\rb: c",
            "X-T: \x00",
            "```",
        ),
        *("{", "}", "```"),
    ]
)


@given(st.lists(LINES | st.text(max_size=30), max_size=12).map("\n".join))
def test_junk_gives_a_delivery_or_a_mistake(text: str) -> None:
    with contextlib.suppress(Mistake):
        saved = read_saved(text.encode("utf-8", "surrogatepass"))
        assert b"\n\r\n" in saved.head
        if is_written_for_people(saved.body):
            assert all(isinstance(one, bytes) for one in written_otherwise(saved.body))
    read_page(text)


@given(st.binary(max_size=60))
def test_any_bytes_may_be_asked_about(data: bytes) -> None:
    if is_written_for_people(data):
        list(written_otherwise(data))
