"""Providers that sign more than the raw body, or less: the URL, a form, or fields of a body that must be parsed."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from proxy.core.schemes.provider import (
    HEAD_ONLY,
    SENTENCE,
    SNS_EVENTS,
    Form,
    Handshake,
    Provider,
    chosen,
    in_base64,
    signed_check,
)
from proxy.core.signing.proof import Scheme
from proxy.core.signing.scheme import Document, Listing, Method, SecretForm, TimeFormat, Timestamp

_TWILIO = in_base64(
    (b"x-twilio-signature",),
    signed="{url}{form}",
    algorithm="sha1",
    document=Document("form", repeats="distinct", url_digest=b"bodySHA256", either_port=True),
)
_TWILIO_NOTE = (
    "Nothing separates the URL and the form in what is signed: write the whole URL in public_url where all deliveries "
    "are forms to one URL. JSON comes to a URL with its digest added: there, write scheme and authority alone."
)
_twilio = partial(
    Provider,
    docs="https://www.twilio.com/docs/usage/security#validating-requests",
    delivery_header=b"i-twilio-idempotency-token",
    answer_s=15.0,
    methods=("POST", "GET"),
)

_BASE64_LINES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n"
#: What Braintree sends as a challenge: the application answers it with its signature.
_CHALLENGE = re.compile(rb"[0-9a-f]{20,32}\n?")

_SNS_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")

_HUBSPOT_DOCS = "https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests"

_hubspot = partial(Provider, docs=_HUBSPOT_DOCS, answer_s=5.0)
_old_hubspot = partial(_hubspot, note="A plain hash, open to length extension.", better="hubspot_v3")

PROVIDERS = (
    Provider(
        "adyen_payments",
        "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures/",
        in_base64(
            (),
            signed="{field:pspReference}:{field:originalReference}:{field:merchantAccountCode}"
            ":{field:merchantReference}:{field:amount.value}:{field:amount.currency}:{field:eventCode}:{field:success}",
            secret=SecretForm.HEX,
            document=Document(
                "json",
                signature="additionalData.hmacSignature",
                items="notificationItems[].NotificationRequestItem",
                optional=frozenset({"originalReference", "merchantReference", "success", "eventCode"}),
                border=b":",
                free="merchantReference",
            ),
        ),
        title="Adyen payments",
        note="Eight fields are signed; the others are not.",
        event_place="notificationItems[].NotificationRequestItem.eventCode",
    ),
    Provider(
        "braintree",
        "https://developer.paypal.com/braintree/docs/guides/webhooks/parse",
        Scheme(
            (),
            signed="{field:bt_payload}",
            algorithm="sha1",
            listing=Listing(separator=b"&", pair=b"|", signature=None, keyed=True),
            key_digest="sha1",
            two_part=True,
            document=Document(
                "form", signature="bt_signature", newline=True, alphabet=_BASE64_LINES, challenge=_CHALLENGE
            ),
        ),
        note="The secret is written public:private, both API keys.",
    ),
    Provider(
        "mailchimp",
        "https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/",
        in_base64((b"x-mandrill-signature",), signed="{url}{form}", algorithm="sha1", document=Document("form")),
        title="Mailchimp Transactional (Mandrill)",
        handshake=HEAD_ONLY,
    ),
    Provider(
        "mailgun",
        "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
        Scheme(
            (),
            signed="{field:signature.timestamp}{field:signature.token}",
            timestamp=Timestamp(),
            document=Document("json", signature="signature.signature", timestamp="signature.timestamp"),
        ),
        note="Only a time and a token are signed, not the event: the body can be replaced within the tolerance.",
        event_place="event-data.event",
    ),
    chosen(
        "microsoft_graph",
        "https://learn.microsoft.com/graph/change-notifications-delivery-webhooks",
        Scheme((), signed="", method=Method.EQUAL, document=Document("json", signature="clientState", items="value[]")),
        note="No signature: every notification repeats the clientState of the subscription.",
        handshake=Handshake(b"POST", query="validationToken", shape=SENTENCE),
        event_place="value[].changeType",
    ),
    Provider(
        "plivo",
        "https://www.plivo.com/docs/sms/concepts/signature-validation",
        in_base64(
            (b"x-plivo-signature-v3", b"x-plivo-signature-ma-v3"),
            signed="{sorted_url}{form}.{nonce}",
            listing=Listing(pair=None, lenient=True),
            nonce=b"x-plivo-signature-v3-nonce",
            document=Document("form", repeats="sorted"),
        ),
        delivery_header=b"x-plivo-signature-v3-nonce",
        methods=("POST", "GET"),
    ),
    Provider(
        "sns",
        "https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html",
        in_base64(
            (),
            signed="{lines}",
            method=Method.RSA,
            timestamp=Timestamp(format=TimeFormat.RFC3339, tolerance_s=3600),
            secret=SecretForm.PUBLIC_KEY,
            document=Document(
                "json",
                signature="Signature",
                timestamp="Timestamp",
                optional=frozenset({"Subject", "SubscribeURL"}),
                lines_by="Type",
                lines=(
                    # SubscribeURL never comes with one: as AWS's own validator does it, none can be added.
                    (
                        "Notification",
                        ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "TopicArn", "Type"),
                    ),
                    ("SubscriptionConfirmation", _SNS_CONFIRMATION),
                    ("UnsubscribeConfirmation", _SNS_CONFIRMATION),
                ),
                topic="TopicArn",
                echoes=(
                    (b"x-amz-sns-message-type", "Type"),
                    (b"x-amz-sns-message-id", "MessageId"),
                    (b"x-amz-sns-topic-arn", "TopicArn"),
                ),
                algorithm_by="SignatureVersion",
                algorithms=(("1", "sha1"), ("2", "sha256")),
                max_body=256 * 1024,  # the most that SNS publishes
            ),
        ),
        title="Amazon SNS",
        event_header=b"x-amz-sns-message-type",
        delivery_header=b"x-amz-sns-message-id",
        address_set="aws",
        note="The secret is the signing certificate of your region, in PEM. It signs for every customer there: "
        "`topics` lists the ARNs that are yours. MessageAttributes are not signed.",
        handshake=signed_check(
            marks=(("Type", "SubscriptionConfirmation"),),
            form=Form.NONE,
            reason="it asks for a URL to be fetched, which the application must want",
        ),
        answer_s=15.0,
        events=SNS_EVENTS,
    ),
    _twilio("twilio", scheme=_TWILIO, note=_TWILIO_NOTE),
    _twilio(
        "twilio_sha256",
        title="Twilio (shared key, SHA-256)",
        scheme=replace(_TWILIO, algorithm="sha256"),
        note="For webhooks that come with X-Twilio-Webhooks-Signature-Settings: ...,algorithm=HMAC_SHA256. "
        + _TWILIO_NOTE,
    ),
    _old_hubspot(
        "hubspot_v1",
        title="HubSpot (v1)",
        scheme=Scheme(
            (b"x-hubspot-signature",), method=Method.HASH, required=((b"x-hubspot-signature-version", b"v1"),)
        ),
        event_place="[].subscriptionType",
    ),
    _old_hubspot(
        "hubspot_v2",
        title="HubSpot (v2)",
        scheme=Scheme(
            (b"x-hubspot-signature",),
            signed="{method}{url}{body}",
            method=Method.HASH,
            json_body=True,
            required=((b"x-hubspot-signature-version", b"v2"),),
        ),
    ),
    _hubspot(
        "hubspot_v3",
        title="HubSpot (v3)",
        scheme=in_base64(
            (b"x-hubspot-signature-v3",),
            signed="{method}{url}{body}{timestamp}",
            json_body=True,
            opens_url=True,
            timestamp=Timestamp(b"x-hubspot-request-timestamp", TimeFormat.MILLISECONDS),
        ),
        event_place="[].subscriptionType",
    ),
    Provider(
        "square",
        "https://developer.squareup.com/docs/webhooks/step3validate",
        in_base64((b"x-square-hmacsha256-signature",), signed="{url}{body}", json_body=True),
        event_place="type",
    ),
    Provider(
        "trello",
        "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
        in_base64((b"x-trello-webhook",), signed="{body}{url}", algorithm="sha1", json_body=True),
        address_set="atlassian",
        handshake=HEAD_ONLY,
        event_place="action.type",
    ),
)
