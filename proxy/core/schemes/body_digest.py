"""Providers that send a signed token (JWT) whose claims hold the digest of the body, or only name the provider."""

from __future__ import annotations

from proxy.core.schemes.provider import Form, Handshake, Made, Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Claims, Document, Encoding, Method, SecretForm

_FUSIONAUTH_DOCS = "https://fusionauth.io/docs/extend/events-and-webhooks/signing"

PROVIDERS = (
    Provider(
        "fusionauth",
        "FusionAuth (shared key)",
        _FUSIONAUTH_DOCS,
        Scheme(
            (b"x-fusionauth-signature-jwt",),
            method=Method.JWT,
            claims=Claims(("HS256", "HS384", "HS512"), body="request_body_sha256", body_encoding=Encoding.BASE64),
        ),
        event_place="event.type",
    ),
    Provider(
        "fusionauth_public_key",
        "FusionAuth (key pair)",
        _FUSIONAUTH_DOCS,
        Scheme(
            (b"x-fusionauth-signature-jwt",),
            method=Method.JWT,
            secret=SecretForm.PUBLIC_KEY,
            claims=Claims(
                ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"),
                body="request_body_sha256",
                body_encoding=Encoding.BASE64,
            ),
        ),
        event_place="event.type",
    ),
    Provider(
        "kinde",
        "Kinde",
        "https://docs.kinde.com",
        Scheme(
            (),
            method=Method.JWT,
            secret=SecretForm.PUBLIC_KEY,
            claims=Claims(("RS256",), texts=("type", "event_id")),
            document=Document("jwt"),
        ),
        note="The body is the token; configure the public key of your domain and replace it when it is rotated. The "
        "same key signs the tokens of your users: only what names its type and event_id is an event.",
    ),
    Provider(
        "livekit",
        "LiveKit",
        "https://docs.livekit.io/home/server/webhooks/",
        Scheme(
            (b"authorization",),
            method=Method.JWT,
            two_part=True,
            claims=Claims(
                body="sha256", body_encoding=Encoding.BASE64, needed=("exp",), leeway_s=60, issuer_is_key_id=True
            ),
        ),
        note="The secret is written key:secret.",
        event_place="event",
    ),
    Provider(
        "messagebird",
        "MessageBird",
        "https://developers.messagebird.com/api/#verifying-http-requests",
        Scheme(
            (b"messagebird-signature-jwt",),
            method=Method.JWT,
            claims=Claims(
                ("HS256", "HS384", "HS512"),
                body="payload_hash",
                body_optional=True,
                url="url_hash",
                needed=("exp", "nbf"),
                issuer="MessageBird",
                identity="jti",
            ),
        ),
        methods=("POST", "GET"),
    ),
    Provider(
        "monday",
        "monday.com",
        "https://developer.monday.com/apps/docs/integration-authorization",
        Scheme((b"authorization",), method=Method.JWT, claims=Claims(needed=("exp",), audience_is_url=True)),
        note="The token names the sender and the endpoint; nothing covers the body. Set public_url: without it only "
        "path and query of the endpoint are compared.",
        handshake=Handshake(
            b"POST", signed=True, field="challenge", form=Form.JSON, values=(("challenge", Made.CHALLENGE),)
        ),
        event_place="event.type",
    ),
    Provider(
        "netlify",
        "Netlify",
        "https://docs.netlify.com",
        Scheme((b"x-webhook-signature",), method=Method.JWT, claims=Claims(body="sha256", issuer="netlify")),
        event_header=b"x-netlify-event",
        chosen=True,
    ),
    Provider(
        "plaid",
        "Plaid",
        "https://plaid.com/docs/api/webhooks/webhook-verification/",
        Scheme(
            (b"plaid-verification",),
            method=Method.JWT,
            secret=SecretForm.PUBLIC_KEY,
            claims=Claims(("ES256",), body="request_body_sha256", needed=("iat",), max_age_s=300),
        ),
        note="Keys are configured, not fetched: the JSON Web Key that Plaid's API shows, both while it rotates.",
        event_place="webhook_code",
    ),
    Provider(
        "vonage",
        "Vonage",
        "https://developer.vonage.com/en/getting-started/concepts/webhooks",
        Scheme(
            (b"authorization",),
            method=Method.JWT,
            prefix=b"Bearer ",
            claims=Claims(body="payload_hash", needed=("iat",), max_age_s=300),
        ),
        note="Choose POST there: what it signs of a GET is the query, written anew, and is refused.",
        methods=("POST", "GET"),
    ),
)
