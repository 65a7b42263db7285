"""Write ``signatures.json``: what providers published, and what their own SDKs sign (or accept as genuine).

Run by hand; see README.md. An SDK that only verifies is asked whether it accepts what we wrote down for it, and the
vector is kept only if it does.
"""

# ruff: noqa: PLC0415  each part stands for itself: an SDK that is not installed leaves out its own vectors only

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from urllib.parse import urlencode

NOW = 1_764_000_000
BODY = '{"event":"ping","text":"zażółć \\"x\\" 🎉"}'
SECRET = "a secret of the tests"
URL = "https://hooks.example.com/in?b=2&a=1"
TARGET = "/in?b=2&a=1"

vectors: list[dict[str, object]] = []


def add(provider: str, source: str, headers: list[tuple[str, str]], **more: object) -> None:
    row: dict[str, object] = {
        "provider": provider,
        "source": source,
        "secret": SECRET,
        "method": "POST",
        "target": TARGET,
        "now": NOW,
        "headers": headers,
        "body": BODY,
        "covered": True,
    }
    vectors.append(row | more)


def published() -> None:
    add(
        "github",
        "GitHub, Validating webhook deliveries",
        [("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")],
        secret="It's a Secret to Everybody",
        body="Hello, World!",
    )
    add(
        "slack",
        "Slack, Verifying requests from Slack",
        [
            ("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ("X-Slack-Request-Timestamp", "1531420618"),
        ],
        secret="8f742231b10e8888abcd99yyyzzz85a5",
        now=1531420618,
        body="token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
    )
    add(
        "standard_webhooks",
        "Svix, Verifying payloads manually",
        [
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
        ],
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        now=1614265330,
        body='{"test": 2432232314}',
    )


def signing_sdks() -> None:
    from slack_sdk.signature import SignatureVerifier
    from standardwebhooks import Webhook
    from stripe import WebhookSignature

    add(
        "slack",
        "slack_sdk",
        [
            ("X-Slack-Signature", SignatureVerifier(SECRET).generate_signature(timestamp=str(NOW), body=BODY)),
            ("X-Slack-Request-Timestamp", str(NOW)),
        ],
    )
    whsec = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    moment = datetime.fromtimestamp(NOW, UTC)
    add(
        "standard_webhooks",
        "standardwebhooks",
        [
            ("webhook-signature", Webhook(whsec).sign("msg_1", moment, BODY)),
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", str(NOW)),
        ],
        secret=whsec,
    )
    # The SDK signs only in a private function, which is the one its check uses.
    signature = WebhookSignature._compute_signature(f"{NOW}.{BODY}", "whsec_test")
    add("stripe", "stripe", [("Stripe-Signature", f"t={NOW},v1={signature}")], secret="whsec_test")


def svix() -> None:
    from svix.webhooks import Webhook

    whsec = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    signature = Webhook(whsec).sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY)
    headers = [("svix-signature", signature), ("svix-id", "msg_1"), ("svix-timestamp", str(NOW))]
    add("svix", "svix", headers, secret=whsec)


def hubspot() -> None:
    from hubspot.utils.signature import Signature

    for version, header in (
        ("v1", "X-HubSpot-Signature"),
        ("v2", "X-HubSpot-Signature"),
        ("v3", "X-HubSpot-Signature-v3"),
    ):
        stamp = str(NOW * 1000)
        signature = Signature.get_signature(SECRET, BODY, version, URL, "POST", stamp)
        headers = [
            (header, signature),
            ("X-HubSpot-Signature-Version", version),
            ("X-HubSpot-Request-Timestamp", stamp),
        ]
        add(f"hubspot_{version}", "hubspot-api-client", headers)


def twilio() -> None:
    from twilio.request_validator import RequestValidator

    form = {"To": "+1", "From": "żółw", "Body": "a&b=c d"}
    validator = RequestValidator(SECRET)
    for provider, algorithm in (("twilio", "HMAC_SHA1"), ("twilio_sha256", "HMAC_SHA256")):
        for source, url in (("", URL), (", port in the URL", URL.replace(".com", ".com:443"))):
            signature = validator.compute_signature(url, form, algorithm)
            add(provider, f"twilio{source}", [("X-Twilio-Signature", signature)], body=urlencode(form))
    digest = validator.compute_hash(BODY)
    signature = validator.compute_signature(f"{URL}&bodySHA256={digest}", {})
    add("twilio", "twilio, JSON", [("X-Twilio-Signature", signature)], target=f"{TARGET}&bodySHA256={digest}")
    signature = validator.compute_signature(URL, {})
    add("twilio", "twilio, GET", [("X-Twilio-Signature", signature)], method="GET", body="")


def plivo() -> None:
    from plivo.utils.signature_v3 import construct_get_url, construct_post_url, get_signature_v3

    form = {"To": ["2", "1"], "From": "x y"}
    for source, url, target in (("", URL, TARGET), (", no query", URL.partition("?")[0], "/in")):
        signature = get_signature_v3(SECRET.encode(), construct_post_url(url, form).decode(), b"n1").decode()
        headers = [("X-Plivo-Signature-V3", signature), ("X-Plivo-Signature-V3-Nonce", "n1")]
        add("plivo", f"plivo{source}", headers, target=target, body=urlencode(form, doseq=True))
    signature = get_signature_v3(SECRET.encode(), construct_get_url(URL, {}).decode(), b"n1").decode()
    headers = [("X-Plivo-Signature-V3", signature), ("X-Plivo-Signature-V3-Nonce", "n1")]
    add("plivo", "plivo, GET", headers, method="GET", body="")


def braintree() -> None:
    import braintree

    gateway = braintree.BraintreeGateway(
        braintree.Configuration(braintree.Environment.Sandbox, "merchant", "public", "private")
    )
    sample = gateway.webhook_testing.sample_notification("subscription_canceled", "id")
    add("braintree", "braintree", [], secret="public:private", body=urlencode(sample))


def adyen() -> None:
    from Adyen.util import generate_notification_sig, generate_payload_sig

    key = "00ff" * 16
    item = {
        "pspReference": "7914073381342284",
        "merchantAccountCode": "TestMerchant",
        "merchantReference": "TestPayment-1",
        "amount": {"value": 1130, "currency": "EUR"},
        "eventCode": "AUTHORISATION",
        "success": "true",
    }
    signature = generate_notification_sig(item, key).decode()
    item["additionalData"] = {"hmacSignature": signature}
    body = json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})
    add("adyen_payments", "Adyen", [], secret=key, body=body, covered=False)
    signature = generate_payload_sig(BODY.encode(), key).decode()
    add("adyen_platform", "Adyen", [("HmacSignature", signature)], secret=key)


def tokens() -> None:
    import jwt
    from messagebird.request_validator import RequestValidator

    digest = hashlib.sha256(BODY.encode())
    key = "k" * 64
    claims = {
        "iss": "MessageBird",
        "nbf": 1_700_000_000,
        "exp": 4_000_000_000,
        "url_hash": hashlib.sha256(URL.encode()).hexdigest(),
        "payload_hash": digest.hexdigest(),
    }
    for algorithm in ("HS256", "HS384", "HS512"):
        token = jwt.encode(claims, key, algorithm)
        RequestValidator(key).validate_signature(token, URL, BODY.encode())
        add("messagebird", f"messagebird, {algorithm}", [("MessageBird-Signature-JWT", token)], secret=key)
    add(
        "netlify",
        "PyJWT",
        [("X-Webhook-Signature", jwt.encode({"iss": "netlify", "sha256": digest.hexdigest()}, key, "HS256"))],
        secret=key,
    )


def checking_sdks() -> None:
    from linebot.v3.webhook import SignatureValidator

    signature = base64.b64encode(hmac.new(SECRET.encode(), BODY.encode(), "sha256").digest()).decode()
    assert SignatureValidator(SECRET).validate(BODY, signature)
    add("line", "line-bot-sdk", [("x-line-signature", signature)])

    from razorpay.utility import Utility

    signature = hmac.new(SECRET.encode(), BODY.encode(), "sha256").hexdigest()
    Utility().verify_webhook_signature(BODY, signature, SECRET)
    add("razorpay", "razorpay", [("X-Razorpay-Signature", signature)])


def checked_by_time() -> None:
    """SDKs that judge the time as well: theirs is stopped."""
    from elevenlabs.webhooks_custom import WebhooksClient
    from paddle_billing.Notifications import Secret, Verifier
    from workos.webhooks._verification import verify_header

    raw = BODY.encode()
    with mock.patch("time.time", return_value=NOW):
        value = f"t={NOW},v0={hexmac(f'{NOW}.{BODY}')}"
        WebhooksClient.construct_event(None, BODY, value, SECRET)
        add("elevenlabs", "elevenlabs", [("ElevenLabs-Signature", value)])
        value = f"t={NOW}000, v1={hexmac(f'{NOW}000.{BODY}')}"
        verify_header(event_body=raw, event_signature=value, secret=SECRET)
        add("workos", "workos", [("WorkOS-Signature", value)])
    value = f"ts={NOW};h1={hexmac(f'{NOW}:{BODY}')}"
    request = SimpleNamespace(headers={"Paddle-Signature": value}, body=raw)
    assert Verifier().verify(request, Secret(SECRET), verify_time_drift=False)
    add("paddle", "paddle-python-sdk", [("Paddle-Signature", value)])

    from orb import Orb
    from orb.resources.webhooks import webhooks

    stamp = datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None).isoformat()
    headers = {"X-Orb-Timestamp": stamp, "X-Orb-Signature": f"v1={hexmac(f'v1:{stamp}:{BODY}')}"}
    with mock.patch.object(webhooks, "datetime", mock.Mock(wraps=datetime)) as clock:
        clock.now.return_value = datetime.fromtimestamp(NOW, UTC)
        Orb(api_key="x", webhook_secret=SECRET).webhooks.verify_signature(BODY, headers)
    add("orb", "orb-billing", list(headers.items()))


def heads() -> None:
    from mercadopago.webhook.validator import WebhookSignatureValidator
    from square.utils.webhooks_helper import verify_signature

    value = f"ts={NOW},v1={hexmac(f'id:ORD1;request-id:r-1;ts:{NOW};')}"
    WebhookSignatureValidator.validate(value, "r-1", "ORD1", SECRET)
    headers = [("x-signature", value), ("x-request-id", "r-1")]
    add("mercado_pago", "mercadopago", headers, target="/in?data.id=ORD1&type=order", covered=False)
    digest = base64.b64encode(hmac.new(SECRET.encode(), (URL + BODY).encode(), "sha256").digest()).decode()
    assert verify_signature(request_body=BODY, signature_header=digest, signature_key=SECRET, notification_url=URL)
    add("square", "squareup", [("x-square-hmacsha256-signature", digest)])


def more_tokens() -> None:
    import jwt
    from livekit.api import TokenVerifier
    from livekit.api.webhook import WebhookReceiver
    from vonage_jwt.verify_jwt import verify_signature

    key, body = "k" * 64, '{"event":"room_started"}'
    digest = hashlib.sha256(body.encode())
    claims = {"iss": "APIkey", "nbf": 1_700_000_000, "exp": 4_000_000_000}
    token = jwt.encode(claims | {"sha256": base64.b64encode(digest.digest()).decode()}, key, "HS256")
    WebhookReceiver(TokenVerifier("APIkey", key)).receive(body, token)
    add("livekit", "livekit-api", [("Authorization", token)], secret=f"APIkey:{key}", body=body)
    token = jwt.encode({"iss": "Vonage", "iat": NOW, "jti": "j", "payload_hash": digest.hexdigest()}, key, "HS256")
    assert verify_signature(token, key)
    add("vonage", "vonage-jwt", [("Authorization", f"Bearer {token}")], secret=key, body=body)


def public_keys() -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from discord_interactions import verify_key
    from sendgrid.helpers.eventwebhook import EventWebhook
    from telnyx.lib.webhook_verification import verify_webhook_signature

    raw, pair = BODY.encode(), ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = pair.public_key().public_bytes_raw()
    signature = pair.sign(f"{NOW}{BODY}".encode()).hex()
    assert verify_key(raw, signature, str(NOW), public.hex())
    headers = [("X-Signature-Ed25519", signature), ("X-Signature-Timestamp", str(NOW))]
    add("discord", "discord-interactions", headers, secret=public.hex())
    signature = base64.b64encode(pair.sign(f"{NOW}|{BODY}".encode())).decode()
    headers = [("telnyx-signature-ed25519", signature), ("telnyx-timestamp", str(NOW))]
    shown = base64.b64encode(public).decode()
    with mock.patch("time.time", return_value=NOW):
        verify_webhook_signature(raw, dict(headers), shown)
    add("telnyx", "telnyx", headers, secret=shown)
    curve = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
    spki = curve.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    shown = base64.b64encode(spki).decode()
    signature = base64.b64encode(curve.sign(f"{NOW}{BODY}".encode(), ec.ECDSA(hashes.SHA256()))).decode()
    checker = EventWebhook()
    assert checker.verify_signature(BODY, signature, str(NOW), checker.convert_public_key_to_ecdsa(shown))
    name = "X-Twilio-Email-Event-Webhook"
    add("sendgrid", "sendgrid", [(f"{name}-Signature", signature), (f"{name}-Timestamp", str(NOW))], secret=shown)


def of_node() -> None:
    """SDKs of Node, from the folder in ``NODE_FOLDER`` where they are installed."""
    folder = os.environ.get("NODE_FOLDER")
    if folder is None:
        raise ImportError("NODE_FOLDER is not set")
    given = {"now": NOW, "body": BODY, "secret": SECRET, "long": "s" * 64, "target": TARGET}
    script = Path(__file__).with_name("sign.js").read_text()
    done = subprocess.run(["node", "-e", script, json.dumps(given)], cwd=folder, check=True, capture_output=True)
    for provider, source, headers in json.loads(done.stdout):
        secret = "s" * 64 if provider == "contentful" else SECRET
        add(provider, source, [(name, value) for name, value in headers.items()], secret=secret)


def hexmac(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()


def box() -> None:
    from box_sdk_gen.internal.utils import compute_webhook_signature

    stamp = datetime.fromtimestamp(NOW, UTC).isoformat()
    headers = {"box-signature-version": "1", "box-signature-algorithm": "HmacSHA256", "box-delivery-timestamp": stamp}
    for source, text, escape in (("", BODY, False), (", escaped", '{"a":"zażółć 🎉"}', True)):
        signature = compute_webhook_signature(text, headers, SECRET, escape)
        add("box", f"box-sdk-gen{source}", [("box-signature-primary", signature), *headers.items()], body=text)


def main() -> None:
    for part in (
        published,
        signing_sdks,
        svix,
        hubspot,
        twilio,
        plivo,
        braintree,
        adyen,
        tokens,
        checking_sdks,
        box,
        checked_by_time,
        heads,
        more_tokens,
        public_keys,
        of_node,
    ):
        try:
            part()
        except ImportError as error:
            print(f"{part.__name__}: left out, {error}")
    path = Path(__file__).with_name("signatures.json")
    path.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(vectors)} vectors")


if __name__ == "__main__":
    main()
