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
from datetime import UTC, datetime
from pathlib import Path
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


def box() -> None:
    from box_sdk_gen.internal.utils import compute_webhook_signature

    stamp = datetime.fromtimestamp(NOW, UTC).isoformat()
    headers = {
        "box-signature-version": "1",
        "box-signature-algorithm": "HmacSHA256",
        "box-delivery-timestamp": stamp,
    }
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
