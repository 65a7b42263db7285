"""Providers that sign the URL with the body: ``public_url`` must say what is configured there."""

from __future__ import annotations

from functools import partial

from proxy.core.schemes.handshake import HEAD_ONLY
from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Encoding, Method, TimeFormat, Timestamp

BASE64 = Encoding.BASE64

_HUBSPOT_DOCS = "https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests"

_hubspot = partial(Provider, docs=_HUBSPOT_DOCS, answer_s=5.0)

PROVIDERS = (
    _hubspot(
        "hubspot_v1",
        "HubSpot (v1)",
        scheme=Scheme(
            (b"x-hubspot-signature",), method=Method.HASH, required=((b"x-hubspot-signature-version", b"v1"),)
        ),
        note="A plain hash, open to length extension.",
        better="hubspot_v3",
        event_place="[].subscriptionType",
    ),
    _hubspot(
        "hubspot_v2",
        "HubSpot (v2)",
        scheme=Scheme(
            (b"x-hubspot-signature",),
            signed="{method}{url}{body}",
            method=Method.HASH,
            json_body=True,
            required=((b"x-hubspot-signature-version", b"v2"),),
        ),
        note="A plain hash, open to length extension.",
        better="hubspot_v3",
    ),
    _hubspot(
        "hubspot_v3",
        "HubSpot (v3)",
        scheme=Scheme(
            (b"x-hubspot-signature-v3",),
            signed="{method}{url}{body}{timestamp}",
            encoding=BASE64,
            json_body=True,
            opens_url=True,
            timestamp=Timestamp(b"x-hubspot-request-timestamp", TimeFormat.MILLISECONDS),
        ),
        event_place="[].subscriptionType",
    ),
    Provider(
        "square",
        "Square",
        "https://developer.squareup.com/docs/webhooks/step3validate",
        Scheme((b"x-square-hmacsha256-signature",), signed="{url}{body}", encoding=BASE64, json_body=True),
        event_place="type",
    ),
    Provider(
        "trello",
        "Trello",
        "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
        Scheme((b"x-trello-webhook",), signed="{body}{url}", algorithm="sha1", encoding=BASE64, json_body=True),
        address_set="atlassian",
        handshake=HEAD_ONLY,
        event_place="action.type",
    ),
)
