"""Providers that sign with a private key of theirs; needs the package cryptography. The key is configured."""

from __future__ import annotations

from proxy.core.schemes.provider import Form, Handshake, Made, Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import BodyForm, Encoding, Method, SecretForm, TimeFormat, Timestamp

BASE64 = Encoding.BASE64

PROVIDERS = (
    Provider(
        "discord",
        "Discord interactions",
        "https://docs.discord.com/developers/interactions/overview",
        Scheme(
            (b"x-signature-ed25519",),
            signed="{timestamp}{body}",
            method=Method.ED25519,
            timestamp=Timestamp(b"x-signature-timestamp"),
            secret=SecretForm.ED25519_HEX,
        ),
        refusal_status=401,
        note="The secret is the application's public key, in hex; wrong signatures must be answered 401.",
        handshake=Handshake(b"POST", signed=True, marks=(("type", 1),), form=Form.JSON, values=(("type", 1),)),
    ),
    Provider(
        "ebay",
        "eBay",
        "https://developer.ebay.com/marketplace-account-deletion",
        Scheme(
            (b"x-ebay-signature",),
            method=Method.ECDSA,
            algorithm="sha1",
            encoding=BASE64,
            envelope="signature",
            secret=SecretForm.PUBLIC_KEY,
        ),
        note="Keys are configured, not fetched: the public key that eBay's Notification API shows. It signs for all "
        "applications: anybody's delivery is genuine here, so compare in the body what is yours.",
        handshake=Handshake(query="challenge_code", form=Form.JSON, values=(("challengeResponse", Made.DIGEST_HEX),)),
        event_place="metadata.topic",
    ),
    Provider(
        "paypal",
        "PayPal",
        "https://developer.paypal.com/api/rest/webhooks/",
        Scheme(
            (b"paypal-transmission-sig",),
            signed="{id}|{timestamp}|{key_id}|{body}",
            method=Method.RSA,
            encoding=BASE64,
            identity=b"paypal-transmission-id",
            timestamp=Timestamp(b"paypal-transmission-time", TimeFormat.RFC3339, None),
            body_forms=(BodyForm.CRC32,),
            secret=SecretForm.PUBLIC_KEY,
            two_part=True,
        ),
        delivery_header=b"paypal-transmission-id",
        note="The secret is written webhook-id:certificate (PEM). One certificate signs for all customers: the webhook "
        "id is what makes a delivery yours. Only a CRC-32 of the body is signed, and a body can be made for any: "
        "anybody with one delivery can replace its body, so fetch the object by its id before you believe it.",
        event_place="event_type",
    ),
    Provider(
        "sendgrid",
        "SendGrid",
        "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/"
        "getting-started-event-webhook-security-features",
        Scheme(
            (b"x-twilio-email-event-webhook-signature",),
            signed="{timestamp}{body}",
            method=Method.ECDSA,
            encoding=BASE64,
            timestamp=Timestamp(b"x-twilio-email-event-webhook-timestamp"),
            secret=SecretForm.PUBLIC_KEY,
        ),
        note="The secret is the verification key, in base64.",
        event_place="[].event",
    ),
    Provider(
        "telnyx",
        "Telnyx",
        "https://developers.telnyx.com",
        Scheme(
            (b"telnyx-signature-ed25519",),
            signed="{timestamp}|{body}",
            method=Method.ED25519,
            encoding=BASE64,
            timestamp=Timestamp(b"telnyx-timestamp"),
            secret=SecretForm.ED25519_BASE64,
        ),
        note="The secret is the public key, in base64.",
        event_place="data.event_type",
    ),
    Provider(
        "wise",
        "Wise",
        "https://docs.wise.com",
        Scheme((b"x-signature-sha256",), method=Method.RSA, encoding=BASE64, secret=SecretForm.PUBLIC_KEY),
        delivery_header=b"x-delivery-id",
        note="The secret is the public key that Wise publishes, in PEM. It signs for all customers: anybody's delivery "
        "is genuine here, so compare the profile id in the body with your own.",
        event_place="event_type",
    ),
)
