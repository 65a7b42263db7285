"""Providers whose signature is one of a list: beside the signed timestamp in one header (``t=…,v1=…``), or, as Standard
Webhooks has it, a blank-separated list of ``v1,base64`` over ``{id}.{timestamp}.{body}``.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from proxy.core.schemes.provider import BUILDKITE_EVENTS, GITLAB_EVENTS, Provider, chosen, in_base64
from proxy.core.signing.proof import Scheme
from proxy.core.signing.scheme import BodyForm, Encoding, Listing, Method, SecretForm, TimeFormat, Timestamp

MILLISECONDS = TimeFormat.MILLISECONDS

_T_S = Listing(timestamp=b"t", signature=b"s")
_T_V0 = Listing(timestamp=b"t", signature=b"v0")

_dotted = partial(Scheme, signed="{timestamp}.{body}", timestamp=Timestamp())
_v1 = partial(_dotted, listing=Listing(timestamp=b"t"))

_TIMED = (
    Provider(
        "stripe",
        "https://docs.stripe.com/webhooks/signature",
        _v1((b"stripe-signature",)),
        address_set="stripe",
        note="The whole text of the secret, with its whsec_, is the key.",
        answer_s=20.0,
        event_place="type",
    ),
    Provider("affirm", "https://docs.affirm.com", _dotted((b"x-affirm-signature",), algorithm="sha512", listing=_T_V0)),
    Provider(
        "buildkite",
        "https://buildkite.com/docs/apis/webhooks/pipelines",
        _dotted((b"x-buildkite-signature",), listing=Listing(timestamp=b"timestamp", signature=b"signature")),
        event_header=b"x-buildkite-event",
        events=BUILDKITE_EVENTS,
    ),
    Provider(
        "calendly",
        "https://developer.calendly.com/api-docs",
        _v1((b"calendly-webhook-signature",), timestamp=Timestamp(tolerance_s=180)),
        event_place="event",
    ),
    Provider(
        "elevenlabs",
        "https://elevenlabs.io/docs/overview/administration/webhooks",
        _dotted((b"elevenlabs-signature",), listing=_T_V0, timestamp=Timestamp(tolerance_s=1800)),
        title="ElevenLabs",
    ),
    chosen(
        "go1",
        "https://www.go1.com/developers/partners/concepts/webhook-signature-authentification",
        _v1((b"go1-signature",)),
        address_set="go1",
    ),
    chosen(
        "graphcms",
        "https://hygraph.com/docs/api-reference/basics/webhooks",
        in_base64(
            (b"gcms-signature",),
            signed='{{"Body":"{body}","EnvironmentName":"{json_item:env}","TimeStamp":{timestamp}}}',
            listing=Listing(timestamp=b"t", signature=b"sign", blanks=True, needed=(b"env",)),
            timestamp=Timestamp(format=MILLISECONDS),
            body_forms=(BodyForm.JSON_STRING,),
        ),
        title="Hygraph (GraphCMS)",
    ),
    Provider(
        "hostedhooks",
        "https://docs.hostedhooks.com/security/security-features/webhook-signatures",
        _dotted((b"hostedhooks-signature",), listing=_T_S),
        title="HostedHooks",
    ),
    Provider(
        "mercado_pago",
        "https://www.mercadopago.com/developers",
        Scheme(
            (b"x-signature",),
            signed="id:{param:data.id};request-id:{header:x-request-id};ts:{timestamp};",
            listing=Listing(timestamp=b"ts"),
            timestamp=Timestamp(format=TimeFormat.SECONDS_OR_MILLISECONDS, tolerance_s=None),
        ),
        delivery_header=b"x-request-id",
        note="Nothing covers the body: fetch the object by its id before you believe what it says. The time is signed, "
        "but judged only where a tolerance is set.",
    ),
    Provider(
        "mux", "https://www.mux.com/docs/core/verify-webhook-signatures", _v1((b"mux-signature",)), event_place="type"
    ),
    Provider(
        "paddle",
        "https://developer.paddle.com/webhooks/signature-verification",
        Scheme(
            (b"paddle-signature",),
            signed="{timestamp}:{body}",
            listing=Listing(separator=b";", timestamp=b"ts", signature=b"h1"),
            timestamp=Timestamp(tolerance_s=5),
        ),
        note="Five seconds are what its SDKs allow; a host whose clock drifts needs a longer tolerance.",
        event_place="event_type",
    ),
    Provider(
        "persona",
        "https://docs.withpersona.com",
        _dotted((b"persona-signature",), listing=Listing(timestamp=b"t", lists=b" ")),
        event_place="data.attributes.name",
    ),
    Provider(
        "recurly",
        "https://docs.recurly.com",
        _dotted(
            (b"recurly-signature",),
            listing=Listing(pair=None, timestamp_first=True),
            timestamp=Timestamp(format=MILLISECONDS),
        ),
    ),
    chosen(
        "sanity",
        "https://www.sanity.io/docs/webhooks",
        _v1(
            (b"sanity-webhook-signature",),
            encoding=Encoding.BASE64URL,
            timestamp=Timestamp(format=MILLISECONDS, tolerance_s=None),
        ),
        note="The time is signed, but its SDK has no window: set a tolerance to have one.",
    ),
    Provider(
        "shippo",
        "https://docs.goshippo.com/docs/tracking/webhooksecurity/",
        _v1((b"shippo-auth-signature",)),
        event_place="event",
    ),
    Provider(
        "tiktok",
        "https://developers.tiktok.com/doc/webhooks-verification",
        _dotted((b"tiktok-signature",), listing=_T_S),
        title="TikTok",
        event_place="event",
    ),
    Provider(
        "workos",
        "https://workos.com/docs/events/data-syncing/webhooks",
        _dotted(
            (b"workos-signature",),
            listing=Listing(timestamp=b"t", blanks=True),
            timestamp=Timestamp(format=MILLISECONDS, tolerance_s=180),
        ),
        title="WorkOS",
        event_place="event",
    ),
)


_SPEC = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"

STANDARD = in_base64(
    (b"webhook-signature",),
    signed="{id}.{timestamp}.{body}",
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

_STANDARD = (
    _provider("standard_webhooks", _SPEC, STANDARD, chosen=True, event_place="type"),
    _provider("standard_webhooks_v1a", _SPEC, _ED25519, title="Standard Webhooks (public key)", event_place="type"),
    _svix("svix", "https://docs.svix.com/receiving/verifying-payloads/how-manual", address_set="svix"),
    _svix("clerk", "https://clerk.com/docs/webhooks/sync-data", event_place="type"),
    _svix("resend", "https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests", event_place="type"),
    _svix("stytch", "https://stytch.com/docs/guides/webhooks"),
    _svix("vanta", "https://developer.vanta.com/docs/webhooks"),
    _provider("brex", "https://developer.brex.com/docs/webhooks/", STANDARD),
    _provider(
        "openai",
        "https://platform.openai.com/docs/guides/webhooks",
        replace(STANDARD, secret=SecretForm.WHSEC_OR_RAW),
        title="OpenAI",
        event_place="type",
    ),
    _provider("replicate", "https://replicate.com/docs/topics/webhooks/verify-webhook", STANDARD),
    _provider("supabase", "https://supabase.com/docs/guides/auth/auth-hooks", STANDARD),
    _provider("render", "https://render.com/docs/webhooks", STANDARD, event_place="type"),
    _provider(
        "polar",
        "https://polar.sh/docs/integrate/webhooks/delivery",
        replace(STANDARD, secret=SecretForm.RAW),
        note="The whole text of the secret is the key: nothing is decoded.",
        chosen=True,
        event_place="type",
    ),
    _provider("liveblocks", "https://liveblocks.io/docs/platform/webhooks", STANDARD, event_place="type"),
    _provider("incident_io", "https://docs.incident.io/integrations/webhooks", STANDARD, title="incident.io"),
    _provider("etsy", "https://developers.etsy.com/documentation/essentials/webhooks", STANDARD),
    _provider("gemini", "https://ai.google.dev/gemini-api/docs/webhooks", STANDARD, title="Gemini API (static secret)"),
    _provider("increase", "https://increase.com/documentation/webhooks", STANDARD),
    _provider(
        "gitlab_signing_token",
        "https://docs.gitlab.com/user/project/integrations/webhooks/",
        STANDARD,
        title="GitLab (signing token)",
        event_header=b"x-gitlab-event",
        address_set="gitlab",
        events=GITLAB_EVENTS,
    ),
)

PROVIDERS = _TIMED + _STANDARD
