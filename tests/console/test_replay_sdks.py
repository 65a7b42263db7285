"""Deliveries of a day ago, signed again on replay: what the application gets, the providers' own SDKs accept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.console.asking import ACT, token
from tests.whole.process import Hookward
from tests.whole.recorder import Received, RecordingUpstream
from tests.whole.wire import once, request

Start = Callable[..., Hookward]
DAY_AGO = int(time.time()) - 86400
BODY = b'{"id":"evt_1","object":"event","type":"push","api_version":"2026-01-01","data":{"object":{}}}'
KEY = b"0123456789abcdef0123456789abcdef"
WHSEC = "whsec_" + base64.b64encode(KEY).decode()
STRIPE = "whsec_" + KEY.decode()


def mac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def slack() -> dict[str, str]:
    signature = mac(KEY, b"v0:%d:%b" % (DAY_AGO, BODY)).hex()
    return {"X-Slack-Request-Timestamp": str(DAY_AGO), "X-Slack-Signature": f"v0={signature}"}


def stripe() -> dict[str, str]:
    return {"Stripe-Signature": f"t={DAY_AGO},v1={mac(STRIPE.encode(), b'%d.%b' % (DAY_AGO, BODY)).hex()}"}


def standard() -> dict[str, str]:
    signature = base64.b64encode(mac(KEY, b"msg_7.%d.%b" % (DAY_AGO, BODY))).decode()
    return {"webhook-id": "msg_7", "webhook-timestamp": str(DAY_AGO), "webhook-signature": f"v1,{signature}"}


def accepted_by_slack(got: Received) -> bool:
    sdk = pytest.importorskip("slack_sdk.signature")
    fields = {name.decode(): value.decode() for name, value in got.fields}
    return bool(sdk.SignatureVerifier(KEY.decode()).is_valid_request(got.content, fields))


def accepted_by_stripe(got: Received) -> bool:
    sdk = pytest.importorskip("stripe")
    signature = (got.get(b"Stripe-Signature") or b"").decode()
    return bool(sdk.Webhook.construct_event(got.content, signature, STRIPE).id == "evt_1")


def accepted_by_standard_webhooks(got: Received) -> bool:
    sdk = pytest.importorskip("standardwebhooks")
    fields = {name.decode().lower(): value.decode() for name, value in got.fields}
    return bool(sdk.Webhook(WHSEC).verify(got.content, fields)["id"] == "evt_1")


@pytest.mark.parametrize(
    ("provider", "secret", "fields", "accepted"),
    [
        ("slack", KEY.decode(), slack(), accepted_by_slack),
        ("stripe", STRIPE, stripe(), accepted_by_stripe),
        ("standard_webhooks", WHSEC, standard(), accepted_by_standard_webhooks),
    ],
)
@pytest.mark.parametrize("to", ["checks", "application"])
def test_a_day_later_the_sdk_accepts_it(
    start: Start,
    upstream: RecordingUpstream,
    tmp_path: Path,
    provider: str,
    secret: str,
    fields: dict[str, str],
    accepted: Callable[[Received], bool],
    to: str,
) -> None:
    for name, value in (("secret", secret), ("act", ACT)):
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "hookward.toml"
    path.write_text(
        f'listen = "127.0.0.1:0"\nupstream = "{upstream.url}"\n[console]\nlisten = "127.0.0.1:0"\n'
        f'act_token = "file:act"\n[route.a]\nprovider = "{provider}"\nsecrets = "file:secret"\n'
    )
    hookward = start("-c", path, listeners=2, secrets=[secret.encode()])
    assert once(hookward.address, request("POST", "/", fields, BODY)).word == "timestamp_too_old"
    visitor = token(hookward)
    [row] = visitor.get("deliveries")["deliveries"]
    place = f"deliveries/{row['id']}/replay"
    assert visitor.post(place).json["reason"] == "timestamp_too_old"
    assert visitor.post(place, {"sign": "now", "to": to}).json["status"] == 200
    [got] = upstream.wait_complete(1)
    assert got.content == BODY
    assert accepted(got)
