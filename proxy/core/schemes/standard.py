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

_ID = b"webhook-id"
_SVIX_ID = b"svix-id"

#: They wait as long as the specification asks for.
_provider = partial(Provider, answer_s=15.0)

PROVIDERS = (
    _provider(
        "standard_webhooks",
        "Standard Webhooks",
        _SPEC,
        STANDARD,
        delivery_header=_ID,
        chosen=True,
        event_place="type",
    ),
    _provider(
        "standard_webhooks_v1a",
        "Standard Webhooks (public key)",
        _SPEC,
        _ED25519,
        delivery_header=_ID,
        event_place="type",
    ),
    _provider(
        "svix",
        "Svix",
        "https://docs.svix.com/receiving/verifying-payloads/how-manual",
        SVIX,
        delivery_header=_SVIX_ID,
        address_set="svix",
    ),
    _provider(
        "clerk",
        "Clerk",
        "https://clerk.com/docs/webhooks/sync-data",
        SVIX,
        delivery_header=_SVIX_ID,
        event_place="type",
    ),
    _provider(
        "resend",
        "Resend",
        "https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests",
        SVIX,
        delivery_header=_SVIX_ID,
        event_place="type",
    ),
    _provider("stytch", "Stytch", "https://stytch.com/docs/guides/webhooks", SVIX, delivery_header=_SVIX_ID),
    _provider("vanta", "Vanta", "https://developer.vanta.com/docs/webhooks", SVIX, delivery_header=_SVIX_ID),
    _provider("brex", "Brex", "https://developer.brex.com/docs/webhooks/", STANDARD, delivery_header=_ID),
    _provider(
        "openai",
        "OpenAI",
        "https://platform.openai.com/docs/guides/webhooks",
        replace(STANDARD, secret=SecretForm.WHSEC_OR_RAW),
        delivery_header=_ID,
        event_place="type",
    ),
    _provider(
        "replicate",
        "Replicate",
        "https://replicate.com/docs/topics/webhooks/verify-webhook",
        STANDARD,
        delivery_header=_ID,
    ),
    _provider(
        "supabase", "Supabase", "https://supabase.com/docs/guides/auth/auth-hooks", STANDARD, delivery_header=_ID
    ),
    _provider(
        "render",
        "Render",
        "https://render.com/docs/webhooks",
        STANDARD,
        delivery_header=_ID,
        event_place="type",
    ),
    _provider(
        "polar",
        "Polar",
        "https://polar.sh/docs/integrate/webhooks/delivery",
        replace(STANDARD, secret=SecretForm.RAW),
        delivery_header=_ID,
        note="The whole text of the secret is the key: nothing is decoded.",
        chosen=True,
        event_place="type",
    ),
    _provider(
        "liveblocks",
        "Liveblocks",
        "https://liveblocks.io/docs/platform/webhooks",
        STANDARD,
        delivery_header=_ID,
        event_place="type",
    ),
    _provider(
        "incident_io", "incident.io", "https://docs.incident.io/integrations/webhooks", STANDARD, delivery_header=_ID
    ),
    _provider(
        "etsy", "Etsy", "https://developers.etsy.com/documentation/essentials/webhooks", STANDARD, delivery_header=_ID
    ),
    _provider(
        "gemini",
        "Gemini API (static secret)",
        "https://ai.google.dev/gemini-api/docs/webhooks",
        STANDARD,
        delivery_header=_ID,
    ),
    _provider("increase", "Increase", "https://increase.com/documentation/webhooks", STANDARD, delivery_header=_ID),
    _provider(
        "gitlab_signing_token",
        "GitLab (signing token)",
        "https://docs.gitlab.com/user/project/integrations/webhooks/",
        STANDARD,
        event_header=b"x-gitlab-event",
        delivery_header=_ID,
        address_set="gitlab",
        events=events.GITLAB,
    ),
)
