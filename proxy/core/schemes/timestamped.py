"""Providers whose HMAC covers the raw body and a timestamp that has a header of its own, before or after the body."""

from __future__ import annotations

from functools import partial

from proxy.core.schemes.provider import KEYED, Form, Made, Provider, chosen, in_base64, signed_check
from proxy.core.signing.proof import Scheme
from proxy.core.signing.scheme import BodyForm, Listing, TimeFormat, Timestamp

MILLISECONDS = TimeFormat.MILLISECONDS

_v0 = partial(Scheme, signed="v0:{timestamp}:{body}", prefix=b"v0=")

PROVIDERS = (
    Provider(
        "slack",
        "https://docs.slack.dev/authentication/verifying-requests-from-slack/",
        _v0((b"x-slack-signature",), timestamp=Timestamp(b"x-slack-request-timestamp")),
        handshake=signed_check(field="challenge", marks=(("type", "url_verification"),)),
        answer_s=3.0,
        event_place="event.type",
    ),
    Provider(
        "airship",
        "https://docs.airship.com/guides/features/messaging/custom-channels/",
        Scheme((b"x-ua-signature",), signed="{timestamp}:{body}", timestamp=Timestamp(b"x-ua-timestamp")),
    ),
    Provider(
        "airwallex",
        "https://www.airwallex.com/docs",
        Scheme((b"x-signature",), signed="{timestamp}{body}", timestamp=Timestamp(b"x-timestamp", MILLISECONDS)),
        event_place="name",
    ),
    Provider(
        "contentful",
        "https://www.contentful.com/developers/docs/extensibility/app-framework/request-verification/",
        Scheme(
            (b"x-contentful-signature",),
            signed="{method}\n{encoded_target}\n{signed_headers}\n{body}",
            signed_headers=b"x-contentful-signed-headers",
            timestamp=Timestamp(b"x-contentful-timestamp", MILLISECONDS, 30),
        ),
        event_header=b"x-contentful-topic",
    ),
    Provider(
        "customerio",
        "https://docs.customer.io/journeys/webhooks/",
        Scheme((b"x-cio-signature",), signed="v0:{timestamp}:{body}", timestamp=Timestamp(b"x-cio-timestamp")),
        title="Customer.io",
    ),
    Provider(
        "frameio",
        "https://developer.adobe.com/frameio/guides/Webhooks/",
        _v0((b"x-frameio-signature",), timestamp=Timestamp(b"x-frameio-request-timestamp")),
        title="Frame.io",
        event_place="type",
    ),
    Provider(
        "front",
        "https://dev.frontapp.com/docs/application-webhooks",
        in_base64(
            (b"x-front-signature",),
            signed="{timestamp}:{body}",
            timestamp=Timestamp(b"x-front-request-timestamp", MILLISECONDS),
        ),
    ),
    Provider(
        "lob",
        "https://docs.lob.com",
        Scheme(
            (b"lob-signature",),
            signed="{timestamp}.{body}",
            timestamp=Timestamp(b"lob-signature-timestamp", TimeFormat.SECONDS_OR_MILLISECONDS),
        ),
    ),
    Provider(
        "orb",
        "https://docs.withorb.com/integrations-and-exports/webhooks",
        Scheme(
            (b"x-orb-signature",),
            signed="v1:{timestamp}:{body}",
            listing=Listing(separator=b" "),
            timestamp=Timestamp(b"x-orb-timestamp", TimeFormat.ISO_UTC),
        ),
    ),
    Provider(
        "pinwheel",
        "https://docs.pinwheelapi.com/docs/webhook-signature-verification",
        Scheme(
            (b"x-pinwheel-signature",),
            signed="v2:{timestamp}:{body}",
            prefix=b"v2=",
            timestamp=Timestamp(b"x-timestamp"),
        ),
    ),
    chosen(
        "twitch",
        "https://dev.twitch.tv/docs/eventsub/handling-webhook-events/",
        Scheme(
            (b"twitch-eventsub-message-signature",),
            signed="{id}{timestamp}{body}",
            prefix=b"sha256=",
            timestamp=Timestamp(b"twitch-eventsub-message-timestamp", TimeFormat.RFC3339, 600),
            identity=b"twitch-eventsub-message-id",
        ),
        title="Twitch EventSub",
        event_header=b"twitch-eventsub-subscription-type",
        delivery_header=b"twitch-eventsub-message-id",
        handshake=signed_check(
            field="challenge", marked_by=(b"twitch-eventsub-message-type", b"webhook_callback_verification")
        ),
    ),
    Provider(
        "webflow",
        "https://developers.webflow.com/data/docs/working-with-webhooks",
        Scheme(
            (b"x-webflow-signature",),
            signed="{timestamp}:{body}",
            timestamp=Timestamp(b"x-webflow-timestamp", MILLISECONDS),
        ),
        event_place="triggerType",
    ),
    Provider(
        "zendesk",
        "https://developer.zendesk.com/documentation/webhooks/verifying/",
        in_base64(
            (b"x-zendesk-webhook-signature",),
            signed="{timestamp}{body}",
            timestamp=Timestamp(b"x-zendesk-webhook-signature-timestamp", TimeFormat.RFC3339),
        ),
        delivery_header=b"x-zendesk-webhook-invocation-id",
        address_set="zendesk",
        event_place="type",
    ),
    Provider(
        "zoom",
        "https://developers.zoom.us/docs/api/webhooks/",
        _v0((b"x-zm-signature",), timestamp=Timestamp(b"x-zm-request-timestamp"), opening=b"{"),
        delivery_header=b"x-zm-trackingid",
        handshake=signed_check(
            field="payload.plainToken",
            marks=(("event", "endpoint.url_validation"),),
            shape=KEYED,
            form=Form.JSON,
            values=(("plainToken", Made.CHALLENGE), ("encryptedToken", Made.HMAC_HEX)),
        ),
        answer_s=3.0,
        event_place="event",
    ),
    # -- after the body
    Provider(
        "box",
        "https://developer.box.com/guides/webhooks/v2/signatures-v2/",
        in_base64(
            (b"box-signature-primary", b"box-signature-secondary"),
            signed="{body}{timestamp}",
            timestamp=Timestamp(b"box-delivery-timestamp", TimeFormat.RFC3339, 600),
            required=((b"box-signature-version", b"1"), (b"box-signature-algorithm", b"HmacSHA256")),
            body_forms=(BodyForm.RAW, BodyForm.ASCII_JSON),
        ),
        delivery_header=b"box-delivery-id",
        answer_s=30.0,
        event_place="trigger",
    ),
    Provider(
        "klaviyo",
        "https://developers.klaviyo.com/en/docs/working_with_system_webhooks",
        Scheme(
            (b"klaviyo-signature",),
            signed="{body}{timestamp}",
            timestamp=Timestamp(b"klaviyo-timestamp", TimeFormat.ANY, None),
            json_body=True,
        ),
        note="The form of its time is not documented: it is signed, but judged only where a tolerance is set.",
    ),
    chosen(
        "sinch",
        "https://developers.sinch.com",
        in_base64(
            (b"x-sinch-webhook-signature",),
            signed="{body}.{nonce}.{timestamp}",
            nonce=b"x-sinch-webhook-signature-nonce",
            timestamp=Timestamp(b"x-sinch-webhook-signature-timestamp"),
        ),
    ),
)
