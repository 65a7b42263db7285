"""The Standard Webhooks family: ``{id}.{timestamp}.{body}``, and a blank-separated list of ``v1,base64``.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from proxy.core.schemes import events
from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Encoding, Listing, Method, SecretForm, Timestamp

_SPEC = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"

STANDARD = Scheme(
    (b"webhook-signature",),
    signed="{id}.{timestamp}.{body}",
    encoding=Encoding.BASE64,
    listing=Listing(b" ", b",", b"v1"),
    timestamp=Timestamp(b"webhook-timestamp"),
    identity=b"webhook-id",
    secret=SecretForm.WHSEC,
)
SVIX = replace(STANDARD, headers=(b"svix-signature",), timestamp=Timestamp(b"svix-timestamp"), identity=b"svix-id")
_ED25519 = replace(
    STANDARD, method=Method.ED25519, listing=Listing(b" ", b",", b"v1a"), secret=SecretForm.ED25519_BASE64
)

#: They wait as long as the specification asks for.
_provider = partial(Provider, answer_s=15.0, delivery_header=b"webhook-id")
_svix = partial(_provider, scheme=SVIX, delivery_header=b"svix-id")

PROVIDERS = (
    _provider("standard_webhooks", "Standard Webhooks", _SPEC, STANDARD, chosen=True, event_place="type"),
    _provider("standard_webhooks_v1a", "Standard Webhooks (public key)", _SPEC, _ED25519, event_place="type"),
    _svix("svix", "Svix", "https://docs.svix.com/receiving/verifying-payloads/how-manual", address_set="svix"),
    _svix("clerk", "Clerk", "https://clerk.com/docs/webhooks/sync-data", event_place="type"),
    _svix(
        "resend", "Resend", "https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests", event_place="type"
    ),
    _svix("stytch", "Stytch", "https://stytch.com/docs/guides/webhooks"),
    _svix("vanta", "Vanta", "https://developer.vanta.com/docs/webhooks"),
    _provider("brex", "Brex", "https://developer.brex.com/docs/webhooks/", STANDARD),
    _provider(
        "openai",
        "OpenAI",
        "https://platform.openai.com/docs/guides/webhooks",
        replace(STANDARD, secret=SecretForm.WHSEC_OR_RAW),
        event_place="type",
    ),
    _provider("replicate", "Replicate", "https://replicate.com/docs/topics/webhooks/verify-webhook", STANDARD),
    _provider("supabase", "Supabase", "https://supabase.com/docs/guides/auth/auth-hooks", STANDARD),
    _provider("render", "Render", "https://render.com/docs/webhooks", STANDARD, event_place="type"),
    _provider(
        "polar",
        "Polar",
        "https://polar.sh/docs/integrate/webhooks/delivery",
        replace(STANDARD, secret=SecretForm.RAW),
        note="The whole text of the secret is the key: nothing is decoded.",
        chosen=True,
        event_place="type",
    ),
    _provider("liveblocks", "Liveblocks", "https://liveblocks.io/docs/platform/webhooks", STANDARD, event_place="type"),
    _provider("incident_io", "incident.io", "https://docs.incident.io/integrations/webhooks", STANDARD),
    _provider("etsy", "Etsy", "https://developers.etsy.com/documentation/essentials/webhooks", STANDARD),
    _provider("gemini", "Gemini API (static secret)", "https://ai.google.dev/gemini-api/docs/webhooks", STANDARD),
    _provider("increase", "Increase", "https://increase.com/documentation/webhooks", STANDARD),
    _provider(
        "gitlab_signing_token",
        "GitLab (signing token)",
        "https://docs.gitlab.com/user/project/integrations/webhooks/",
        STANDARD,
        event_header=b"x-gitlab-event",
        address_set="gitlab",
        events=events.GITLAB,
    ),
)
