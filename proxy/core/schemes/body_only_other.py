"""Providers whose HMAC covers the raw body and nothing else: with SHA-1 or SHA-512, or written in base64."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from proxy.core.schemes.provider import (
    GITHUB_EVENTS,
    HEAD_ONLY,
    KEYED,
    Form,
    Handshake,
    Made,
    Provider,
    chosen,
    in_base64,
    signed_check,
)
from proxy.core.signing.proof import Scheme
from proxy.core.signing.scheme import Encoding, Listing, SecretForm

_sha1 = partial(Scheme, algorithm="sha1")
_sha512 = partial(Scheme, algorithm="sha512")


#: The client secret also signs the query of each page of the app that a merchant opens. Bodies are JSON or XML.
_SHOPIFY = in_base64((b"x-shopify-hmac-sha256",), opening=b"{<")
_SHOPIFY_NOTE = (
    "The key is the app's client secret; orders can be megabytes. Topic and shop are in headers, which are not signed."
)

PROVIDERS = (
    chosen(
        "github_sha1",
        "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        _sha1((b"x-hub-signature",), prefix=b"sha1="),
        title="GitHub (old signature)",
        event_header=b"x-github-event",
        delivery_header=b"x-github-delivery",
        address_set="github",
        note="Only for senders that know nothing newer.",
        better="github",
        events=GITHUB_EVENTS,
    ),
    Provider(
        "autodesk",
        "https://aps.autodesk.com/en/docs/webhooks/v1/tutorials/how-to-verify-payload-signature",
        _sha1((b"x-adsk-signature",), prefix=b"sha1hash="),
        title="Autodesk Platform Services",
        delivery_header=b"x-adsk-delivery-id",
        event_place="hook.event",
    ),
    Provider(
        "autotask",
        "https://www.autotask.net/help/developerhelp/Content/APIs/Webhooks/SecretKeyPayloadVerification.htm",
        _sha1((b"x-hook-signature",), prefix=b"sha1=", encoding=Encoding.BASE64),
    ),
    Provider(
        "clearbit",
        "https://dashboard.clearbit.com/docs",
        _sha1((b"x-request-signature",), prefix=b"sha1="),
        note="This scheme was not checked against a delivery.",
    ),
    Provider(
        "intercom",
        "https://developers.intercom.com/docs/webhooks/setting-up-webhooks",
        _sha1((b"x-hub-signature",), prefix=b"sha1="),
        note="The key is the client secret.",
        handshake=HEAD_ONLY,
        event_place="topic",
    ),
    chosen(
        "mongodb",
        "https://www.mongodb.com/docs/atlas/tutorial/third-party-service-integrations/",
        _sha1((b"x-mms-signature",), encoding=Encoding.HEX_OR_BASE64),
        title="MongoDB Atlas alerts",
        event_header=b"x-mms-event",
    ),
    chosen("segment", "https://segment.com/docs", _sha1((b"x-signature",)), event_place="type"),
    chosen(
        "sonatype",
        "https://help.sonatype.com/en/working-with-hmac-payloads.html",
        _sha1((b"x-nexus-webhook-signature",)),
        title="Sonatype Nexus",
        event_header=b"x-nexus-webhook-id",
        delivery_header=b"x-nexus-webhook-delivery",
    ),
    Provider(
        "vercel", "https://vercel.com/docs/webhooks/webhooks-api", _sha1((b"x-vercel-signature",)), event_place="type"
    ),
    chosen("webex", "https://developer.webex.com/docs/webhooks", _sha1((b"x-spark-signature",))),
    Provider(
        "authorize_net",
        "https://developer.authorize.net/api/reference/features/webhooks.html",
        Scheme(
            (b"x-anet-signature",),
            algorithm="sha512",
            prefix=b"sha512=",
            encoding=Encoding.HEX_ANY_CASE,
            writes_upper=True,
            secret=SecretForm.HEX,
            opening=b"{",  # the same key signs "^field^field^" for the browser of each buyer
        ),
        title="Authorize.net",
        event_place="eventType",
    ),
    Provider(
        "onfleet",
        "https://docs.onfleet.com/reference/secrets",
        _sha512((b"x-onfleet-signature",), secret=SecretForm.HEX),
        handshake=Handshake(query="check"),
    ),
    Provider(
        "paystack",
        "https://paystack.com/docs/payments/webhooks/",
        _sha512((b"x-paystack-signature",)),
        event_place="event",
    ),
    chosen(
        "terraform",
        "https://developer.hashicorp.com/terraform/cloud-docs/workspaces/settings/notifications",
        _sha512((b"x-tfe-notification-signature",)),
        title="HCP Terraform",
        event_place="notifications[].trigger",
    ),
    Provider(
        "adyen_platform",
        "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures/",
        in_base64((b"hmacsignature",), secret=SecretForm.HEX),
        title="Adyen for Platforms",
        event_place="type",
    ),
    Provider(
        "adyen_management",
        "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures/",
        in_base64((b"hmacsignature",), secret=SecretForm.HEX),
        event_place="type",
    ),
    Provider(
        "aftership",
        "https://www.aftership.com/docs/tracking/webhook/webhook-signature",
        in_base64((b"aftership-hmac-sha256",)),
        title="AfterShip",
    ),
    Provider(
        "airtable",
        "https://airtable.com/developers/web/api/webhooks-overview",
        Scheme((b"x-airtable-content-mac",), prefix=b"hmac-sha256=", secret=SecretForm.BASE64),
    ),
    Provider(
        "bolt",
        "https://help.bolt.com/developers/guides/webhooks/hook-verification/",
        in_base64((b"x-bolt-hmac-sha256",)),
    ),
    Provider(
        "castle",
        "https://docs.castle.io/docs/webhooks",
        # In its secure mode the same key signs the user's id, on every page.
        in_base64((b"x-castle-signature",), opening=b"{"),
    ),
    Provider(
        "docusign",
        "https://developers.docusign.com/platform/webhooks/connect/validate/",
        in_base64(tuple(b"x-docusign-signature-%d" % number for number in range(1, 101))),
        title="DocuSign Connect",
        note="One signature for each key that is active there; documents make large bodies, so raise max_body.",
        answer_s=100.0,
        event_place="event",
    ),
    chosen("heroku", "https://devcenter.heroku.com/articles/app-webhooks", in_base64((b"heroku-webhook-hmac-sha256",))),
    Provider(
        "hookdeck",
        "https://hookdeck.com/docs/authentication",
        in_base64((b"x-hookdeck-signature", b"x-hookdeck-signature-2")),
        delivery_header=b"x-hookdeck-eventid",
    ),
    Provider(
        "line",
        "https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/",
        in_base64((b"x-line-signature",)),
        title="LINE",
        note="The key is the channel secret.",
        event_place="events[].type",
    ),
    Provider(
        "microsoft_teams",
        "https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-outgoing-webhook",
        in_base64((b"authorization",), prefix=b"HMAC ", secret=SecretForm.BASE64),
        title="Microsoft Teams outgoing webhooks",
    ),
    Provider("quickbooks", "https://developer.intuit.com", in_base64((b"intuit-signature",)), title="QuickBooks"),
    Provider(
        "shopify",
        "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
        _SHOPIFY,
        event_header=b"x-shopify-topic",
        delivery_header=b"x-shopify-webhook-id",
        note=_SHOPIFY_NOTE,
        answer_s=5.0,
    ),
    Provider(
        "shopify_events",
        "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
        replace(_SHOPIFY, headers=(b"shopify-hmac-sha256",)),
        title="Shopify (events)",
        event_header=b"shopify-topic",
        delivery_header=b"shopify-webhook-id",
        note=f"For deliveries whose headers begin with Shopify- instead of X-Shopify-. {_SHOPIFY_NOTE}",
        answer_s=5.0,
    ),
    Provider(
        "twitter",
        "https://docs.x.com/x-api/webhooks/quickstart",
        in_base64((b"x-twitter-webhooks-signature",), prefix=b"sha256=", opening=b"{"),
        title="X (Twitter)",
        note="The key is the consumer secret.",
        handshake=Handshake(
            query="crc_token",
            optional=frozenset({"nonce"}),
            shape=KEYED,
            form=Form.JSON,
            values=(("response_token", Made.HMAC_BASE64),),
            mac_prefix="sha256=",
        ),
    ),
    chosen(
        "typeform",
        "https://www.typeform.com/developers/webhooks/secure-your-webhooks/",
        in_base64((b"typeform-signature",), prefix=b"sha256="),
        event_place="event_type",
    ),
    chosen(
        "woocommerce",
        "https://developer.woocommerce.com/docs/webhooks/",
        in_base64((b"x-wc-webhook-signature",)),
        title="WooCommerce",
        event_header=b"x-wc-webhook-topic",
        delivery_header=b"x-wc-webhook-delivery-id",
    ),
    Provider(
        "worldline",
        "https://apireference.connect.worldline-solutions.com",
        in_base64((b"x-gcs-signature",)),
        title="Worldline Connect",
        handshake=Handshake(header=b"x-gcs-webhooks-endpoint-verification"),
    ),
    Provider(
        "worldpay",
        "https://docs.worldpay.com/access/products/events/signature",
        Scheme(
            (b"event-signature",),
            prefix=b"SHA256/",
            encoding=Encoding.HEX_OR_BASE64,
            listing=Listing(pair=b"/", signature=None, blanks=True),
        ),
        title="Worldpay Access",
    ),
    Provider(
        "xero",
        "https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/",
        in_base64((b"x-xero-signature",)),
        refusal_status=401,
        note="Xero tests the endpoint with wrong signatures and expects exactly 401.",
        handshake=signed_check(
            marks=(("events", []), ("firstEventSequence", 0), ("lastEventSequence", 0)),
            form=Form.EMPTY,
            values=(),
            bare_refusals=True,
        ),
        answer_s=5.0,
        event_place="events[].eventType",
    ),
)
