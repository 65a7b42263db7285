"""Providers whose signature header is a list that holds the signed timestamp too: ``t=…,v1=…``."""

from __future__ import annotations

from functools import partial

from proxy.core.schemes import events
from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import BodyForm, Encoding, Listing, TimeFormat, Timestamp

BASE64 = Encoding.BASE64
MILLISECONDS = TimeFormat.MILLISECONDS
UNSURE = TimeFormat.SECONDS_OR_MILLISECONDS

#: "t=…,v1=…"
_T_V1 = Listing(timestamp=b"t")
_T_S = Listing(timestamp=b"t", signature=b"s")
_T_V0 = Listing(timestamp=b"t", signature=b"v0")

_dotted = partial(Scheme, signed="{timestamp}.{body}", timestamp=Timestamp())
_v1 = partial(_dotted, listing=_T_V1)

PROVIDERS = (
    Provider(
        "stripe",
        "Stripe",
        "https://docs.stripe.com/webhooks/signature",
        _v1((b"stripe-signature",)),
        address_set="stripe",
        note="The whole text of the secret, with its whsec_, is the key.",
        answer_s=20.0,
        event_place="type",
    ),
    Provider(
        "affirm",
        "Affirm",
        "https://docs.affirm.com",
        _dotted((b"x-affirm-signature",), algorithm="sha512", listing=_T_V0),
    ),
    Provider(
        "buildkite",
        "Buildkite",
        "https://buildkite.com/docs/apis/webhooks/pipelines",
        _dotted((b"x-buildkite-signature",), listing=Listing(timestamp=b"timestamp", signature=b"signature")),
        event_header=b"x-buildkite-event",
        events=events.BUILDKITE,
    ),
    Provider(
        "calendly",
        "Calendly",
        "https://developer.calendly.com/api-docs",
        _v1((b"calendly-webhook-signature",), timestamp=Timestamp(tolerance_s=180)),
        event_place="event",
    ),
    Provider(
        "elevenlabs",
        "ElevenLabs",
        "https://elevenlabs.io/docs/overview/administration/webhooks",
        _dotted((b"elevenlabs-signature",), listing=_T_V0, timestamp=Timestamp(tolerance_s=1800)),
    ),
    Provider(
        "go1",
        "Go1",
        "https://www.go1.com/developers/partners/concepts/webhook-signature-authentification",
        _v1((b"go1-signature",)),
        address_set="go1",
        chosen=True,
    ),
    Provider(
        "graphcms",
        "Hygraph (GraphCMS)",
        "https://hygraph.com/docs/api-reference/basics/webhooks",
        Scheme(
            (b"gcms-signature",),
            signed='{{"Body":"{body}","EnvironmentName":"{json_item:env}","TimeStamp":{timestamp}}}',
            encoding=BASE64,
            listing=Listing(timestamp=b"t", signature=b"sign", blanks=True, needed=(b"env",)),
            timestamp=Timestamp(format=MILLISECONDS),
            body_forms=(BodyForm.JSON_STRING,),
        ),
        chosen=True,
    ),
    Provider(
        "hostedhooks",
        "HostedHooks",
        "https://docs.hostedhooks.com/security/security-features/webhook-signatures",
        _dotted((b"hostedhooks-signature",), listing=_T_S),
    ),
    Provider(
        "mercado_pago",
        "Mercado Pago",
        "https://www.mercadopago.com/developers",
        Scheme(
            (b"x-signature",),
            signed="id:{param:data.id};request-id:{header:x-request-id};ts:{timestamp};",
            listing=Listing(timestamp=b"ts"),
            timestamp=Timestamp(format=UNSURE, tolerance_s=None),
        ),
        delivery_header=b"x-request-id",
        note="Nothing covers the body: fetch the object by its id before you believe what it says. The time is signed, "
        "but judged only where a tolerance is set.",
    ),
    Provider(
        "mux",
        "Mux",
        "https://www.mux.com/docs/core/verify-webhook-signatures",
        _v1((b"mux-signature",)),
        event_place="type",
    ),
    Provider(
        "paddle",
        "Paddle",
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
        "Persona",
        "https://docs.withpersona.com",
        _dotted((b"persona-signature",), listing=Listing(timestamp=b"t", lists=b" ")),
        event_place="data.attributes.name",
    ),
    Provider(
        "recurly",
        "Recurly",
        "https://docs.recurly.com",
        _dotted(
            (b"recurly-signature",),
            listing=Listing(pair=None, timestamp_first=True),
            timestamp=Timestamp(format=MILLISECONDS),
        ),
    ),
    Provider(
        "sanity",
        "Sanity",
        "https://www.sanity.io/docs/webhooks",
        _v1(
            (b"sanity-webhook-signature",),
            encoding=Encoding.BASE64URL,
            timestamp=Timestamp(format=MILLISECONDS, tolerance_s=None),
        ),
        note="The time is signed, but its SDK has no window: set a tolerance to have one.",
        chosen=True,
    ),
    Provider(
        "shippo",
        "Shippo",
        "https://docs.goshippo.com/docs/tracking/webhooksecurity/",
        _v1((b"shippo-auth-signature",)),
        event_place="event",
    ),
    Provider(
        "tiktok",
        "TikTok",
        "https://developers.tiktok.com/doc/webhooks-verification",
        _dotted((b"tiktok-signature",), listing=_T_S),
        event_place="event",
    ),
    Provider(
        "workos",
        "WorkOS",
        "https://workos.com/docs/events/data-syncing/webhooks",
        _dotted(
            (b"workos-signature",),
            listing=Listing(timestamp=b"t", blanks=True),
            timestamp=Timestamp(format=MILLISECONDS, tolerance_s=180),
        ),
        event_place="event",
    ),
)
