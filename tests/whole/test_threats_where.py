"""Threats to ``where`` and to events in payloads: what is not passed on is not passed on, whatever is in doubt."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.whole.process import ROOT, Hookward, environment
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Client, github, once, request

SECRET = b"a secret of the payloads"
FORM = "application/x-www-form-urlencoded"
CONFIG = """
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
upstream = "{upstream}"

[limits]
hold_window = "64KiB"

[duplicates]
store = "sqlite"
path = "{folder}/duplicates.sqlite3"

[route.signed]
path = "/signed"
provider = "github"
secrets = ["file:{folder}/secret"]
where = {{ "action" = ["opened", "re*"], "repository.full_name" = "org/*" }}
duplicates = "refuse-delivered"

[route.held]
path = "/held"
provider = "github"
secrets = ["file:{folder}/secret"]
body = "hold"
where = {{ "action" = "opened" }}

[route.lenient]
path = "/lenient"
provider = "github"
secrets = ["file:{folder}/secret"]
where = {{ "action" = "opened" }}
undecided = "pass"

[route.open]
path = "/open"
open = true
where = {{ "action" = "opened" }}

[route.token]
path = "/token"
token = {{ header = "X-Token", secrets = ["file:{folder}/secret"] }}
where = {{ "action" = "opened" }}

[route.observed]
path = "/observed"
provider = "github"
secrets = ["file:{folder}/secret"]
mode = "observe"
where = {{ "action" = "opened" }}

[route.stripe]
path = "/stripe"
provider = "stripe"
secrets = ["file:{folder}/secret"]
events = ["charge.succeeded"]

[route.watched]
path = "/watched"
provider = "stripe"
secrets = ["file:{folder}/secret"]
mode = "observe"
events = ["charge.succeeded"]

[route.slack]
path = "/slack"
provider = "slack"
secrets = ["file:{folder}/secret"]
events = ["app_mention"]
"""
OPENED: dict[str, Any] = {"action": "opened", "repository": {"full_name": "org/app"}}
CLOSED = OPENED | {"action": "closed"}


@pytest.fixture(scope="module")
def config(lasting_upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("where")
    (folder / "secret").write_bytes(SECRET)
    (folder / "secret").chmod(0o600)
    path = folder / "hookward.toml"
    path.write_text(CONFIG.format(upstream=lasting_upstream.url, folder=folder))
    return path


@pytest.fixture(scope="module")
def hookward(start_once: Callable[..., Hookward], config: Path) -> Hookward:
    return start_once("--config", config, secrets=(SECRET,), listeners=2)


def outcome(hookward: Hookward, upstream: RecordingUpstream, data: bytes) -> tuple[int, str, str]:
    """Status, reason and verdict; and unless it was delivered, that the application had not a byte of it."""
    upstream.renew()
    answer = once(hookward.address, data)
    own = answer.get(b"X-Request-Id")
    if own is None:
        [delivered] = upstream.wait_complete()
        line = hookward.line_of(delivered.get(b"x-request-id"))
        assert line["webhook.reason"] == "delivered"
    else:
        line = hookward.line_of(own)
        assert once(hookward.address, request(target="/open", content=b'{"action":"opened"}')).status == 200
        assert [one.target for one in upstream.seen] == [b"/open"]
        assert (line["webhook.reason"] == "filtered") == (answer.content == b"")
    return answer.status, line["webhook.reason"], line["webhook.verdict"]


def signed(target: str, document: object, *, secret: bytes = SECRET, delivery: str = "d", pad: int = 0) -> bytes:
    body = (document if isinstance(document, bytes) else json.dumps(document).encode()) + b" " * pad
    return request(target=target, fields=github(secret, body, delivery=delivery), content=body)


DELIVERED, FILTERED = (200, "delivered", "admitted"), (200, "filtered", "admitted")
UNDECIDED = (422, "payload_undecided", "refused")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (OPENED, DELIVERED),
        (OPENED | {"action": "reopened"}, DELIVERED),
        (CLOSED, FILTERED),
        (OPENED | {"repository": {"full_name": "other/app"}}, FILTERED),
        ({"action": "opened"}, FILTERED),
        ([OPENED], FILTERED),
        (b'{"action": "opened", "action": "closed", "repository": {"full_name": "org/app"}}', UNDECIDED),
        (b'{"action": "closed", "\\u0061ction": "opened", "repository": {"full_name": "org/app"}}', UNDECIDED),
        (b"not json", UNDECIDED),
        (b"[" * 100 + b"]" * 100, UNDECIDED),
        (b"[" + b"1," * 25_000 + b"1]", UNDECIDED),
    ],
    ids=lambda value: str(value)[:40],
)
def test_g10_a_payload_is_what_where_names_or_is_not_passed_on(
    hookward: Hookward, lasting_upstream: RecordingUpstream, document: object, expected: tuple[int, str, str]
) -> None:
    delivery = hashlib.sha256(repr(document).encode()).hexdigest()
    assert outcome(hookward, lasting_upstream, signed("/signed", document, delivery=delivery)) == expected


@pytest.mark.parametrize("document", [OPENED, CLOSED, b"junk"], ids=["wanted", "unwanted", "junk"])
def test_g10_a_forged_delivery_learns_nothing_of_what_is_wanted(
    hookward: Hookward, lasting_upstream: RecordingUpstream, document: object
) -> None:
    forged = signed("/signed", document, secret=b"a guess")
    assert outcome(hookward, lasting_upstream, forged) == (403, "signature_mismatch", "refused")


def test_g10_a_form_is_read_as_its_payload(hookward: Hookward, lasting_upstream: RecordingUpstream) -> None:
    for document, expected in ((OPENED, DELIVERED), (CLOSED, FILTERED)):
        body = urlencode({"payload": json.dumps(document)}).encode()
        fields = github(SECRET, body, delivery=str(document)) | {"Content-Type": FORM}
        assert outcome(hookward, lasting_upstream, request(target="/signed", fields=fields, content=body)) == expected
    twice = urlencode([("payload", json.dumps(CLOSED)), ("payload", json.dumps(OPENED))]).encode()
    fields = github(SECRET, twice) | {"Content-Type": FORM}
    assert outcome(hookward, lasting_upstream, request(target="/signed", fields=fields, content=twice)) == UNDECIDED


@pytest.mark.parametrize("chunk_size", [0, 1000])
@pytest.mark.parametrize(
    ("target", "pad", "expected"),
    [
        ("/signed", 65_000, DELIVERED),
        ("/signed", 66_000, UNDECIDED),
        ("/signed", 300_000, UNDECIDED),
        ("/held", 65_000, DELIVERED),
        ("/held", 300_000, UNDECIDED),
        ("/lenient", 300_000, DELIVERED),
        ("/open", 65_000, DELIVERED),
        ("/open", 300_000, UNDECIDED),
    ],
)
def test_g10_what_is_too_large_to_be_looked_at(
    hookward: Hookward,
    lasting_upstream: RecordingUpstream,
    target: str,
    pad: int,
    expected: tuple[int, str, str],
    chunk_size: int,
) -> None:
    body = json.dumps(OPENED).encode() + b" " * (pad + bool(chunk_size))
    fields = github(SECRET, body, delivery=f"{target}{pad}{chunk_size}")
    data = request(target=target, fields=fields, content=body, chunk_size=chunk_size)
    assert outcome(hookward, lasting_upstream, data) == expected


def test_routes_without_a_signature(hookward: Hookward, lasting_upstream: RecordingUpstream) -> None:
    for document, expected in ((OPENED, DELIVERED), (CLOSED, FILTERED), (b"", UNDECIDED)):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        assert outcome(hookward, lasting_upstream, request(target="/open", content=body)) == expected
        token = {"X-Token": SECRET.decode()}
        assert outcome(hookward, lasting_upstream, request(target="/token", fields=token, content=body)) == expected
    wrong = request(target="/token", fields={"X-Token": "guess"}, content=json.dumps(CLOSED).encode())
    assert outcome(hookward, lasting_upstream, wrong) == (403, "token_mismatch", "refused")


def test_a_connection_goes_on_after_a_delivery_that_was_left_out(
    hookward: Hookward, lasting_upstream: RecordingUpstream
) -> None:
    lasting_upstream.renew()
    with Client(hookward.address) as client:
        for document in (CLOSED, OPENED, CLOSED):
            body = json.dumps(document).encode()
            answer = client.ask(request(target="/open", content=body))
            assert (answer.status, b"Connection" in dict(answer.fields)) == (200, False)
    assert len(lasting_upstream.wait_complete()) == 1


def test_what_is_only_observed_is_chosen_among_as_well(hookward: Hookward, lasting_upstream: RecordingUpstream) -> None:
    for secret, verdict in ((SECRET, "admitted"), (b"a guess", "observed")):
        left_out = outcome(hookward, lasting_upstream, signed("/observed", CLOSED, secret=secret))
        assert left_out == (200, "filtered", verdict)
        passed = outcome(hookward, lasting_upstream, signed("/observed", OPENED, secret=secret))
        assert passed == (200, "delivered", verdict)
    assert lasting_upstream.complete[0].get(b"webhook-verified") is None


def test_what_is_left_out_is_no_delivery_that_was_there_before(
    hookward: Hookward, lasting_upstream: RecordingUpstream
) -> None:
    """It claims and commits no key: the same id is new again once it is one that is wanted."""
    for _ in range(2):
        assert outcome(hookward, lasting_upstream, signed("/signed", CLOSED, delivery="again")) == FILTERED
    data = signed("/signed", OPENED, delivery="again", pad=1)
    assert outcome(hookward, lasting_upstream, data) == DELIVERED
    status, reason, _ = outcome(hookward, lasting_upstream, data)
    assert (status, reason) == (200, "duplicate_delivered")
    assert outcome(hookward, lasting_upstream, signed("/signed", CLOSED, delivery="again")) == FILTERED


def stripe(document: object, secret: bytes = SECRET, target: str = "/stripe", chunk_size: int = 0) -> bytes:
    body, now = json.dumps(document).encode(), int(time.time())
    mac = hmac.new(secret, b"%d.%b" % (now, body), hashlib.sha256).hexdigest()
    fields = {"Stripe-Signature": f"t={now},v1={mac}"}
    return request(target=target, fields=fields, content=body, chunk_size=chunk_size)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"type": "charge.succeeded"}, DELIVERED),
        ({"type": "charge.failed"}, (403, "event_refused", "refused")),
        ({}, (403, "event_refused", "refused")),
        ({"type": ["charge.succeeded"]}, (403, "event_refused", "refused")),
        ([], (403, "event_refused", "refused")),
    ],
    ids=str,
)
def test_g11_an_event_in_the_payload_is_one_of_the_list(
    hookward: Hookward, lasting_upstream: RecordingUpstream, document: object, expected: tuple[int, str, str]
) -> None:
    assert outcome(hookward, lasting_upstream, stripe(document)) == expected
    if isinstance(document, dict) and isinstance(document.get("type"), str):
        assert hookward.logged({"webhook.event": document["type"], "webhook.provider": "stripe"})


def test_g11_a_forged_event_is_a_forgery(hookward: Hookward, lasting_upstream: RecordingUpstream) -> None:
    forged = stripe({"type": "charge.failed"}, b"a guess")
    assert outcome(hookward, lasting_upstream, forged) == (403, "signature_mismatch", "refused")


@pytest.mark.parametrize("chunk_size", [0, 9_000])
@pytest.mark.parametrize("pad", [0, 200_000])
def test_an_event_that_is_only_observed_arrives_whole(
    hookward: Hookward, lasting_upstream: RecordingUpstream, pad: int, chunk_size: int
) -> None:
    """Also where the body is too large for the event to be found, which is refused elsewhere."""
    document = {"type": "charge.failed", "pad": "x" * pad}
    data = stripe(document, target="/watched", chunk_size=chunk_size)
    assert outcome(hookward, lasting_upstream, data) == (200, "delivered", "observed")
    assert lasting_upstream.complete[0].content == json.dumps(document).encode()


def test_a_signed_endpoint_check_passes_the_list_of_events(
    hookward: Hookward, lasting_upstream: RecordingUpstream
) -> None:
    for document, expected in (
        ({"type": "url_verification", "challenge": "abc", "token": "x"}, "delivered"),
        ({"type": "event_callback", "event": {"type": "app_mention"}}, "delivered"),
        ({"type": "event_callback", "event": {"type": "message"}}, "event_refused"),
    ):
        body, now = json.dumps(document).encode(), int(time.time())
        mac = hmac.new(SECRET, b"v0:%d:%b" % (now, body), hashlib.sha256).hexdigest()
        fields = {"X-Slack-Signature": f"v0={mac}", "X-Slack-Request-Timestamp": str(now)}
        _, reason, _ = outcome(hookward, lasting_upstream, request(target="/slack", fields=fields, content=body))
        assert reason == expected


def test_it_is_counted(hookward: Hookward) -> None:
    metrics = once(hookward.addresses[-1], request("GET", "/metrics", host="127.0.0.1"), method="GET").content.decode()
    assert 'route="signed",provider="github",reason="filtered",status_class="2xx"' in metrics


def test_explain_and_check_say_it(config: Path) -> None:
    """The commands, as an operator calls them."""
    folder = config.parent
    for name, document in (("opened", OPENED), ("closed", CLOSED), ("twice", b'{"a": 1, "a": 1}')):
        (folder / f"{name}.http").write_bytes(signed("/signed", document))
    text = config.read_text() + "".join(
        f'[[test]]\nfile = "{name}.http"\nexpect = "{expect}"\n'
        for name, expect in (("opened", "admitted"), ("closed", "filtered"), ("twice", "payload_undecided"))
    )
    (folder / "tested.toml").write_text(text)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "proxy", *map(str, words)]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=60
        )

    checked = run("check", "-c", folder / "tested.toml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Passed on: action is 'opened' or 're*'; repository.full_name is 'org/*'." in checked.stdout
    assert "closed.http: filtered by route signed" in checked.stdout
    said = run("explain", folder / "closed.http", "-c", config)
    assert said.returncode == 1
    assert "filtered: taken by the route signed, and not passed on" in said.stdout
    assert "action is not what `where` names" in said.stdout
    assert run("explain", folder / "opened.http", "-c", config).returncode == 0
    assert "can be read in one way alone" in run("explain", folder / "twice.http", "-c", config).stdout
