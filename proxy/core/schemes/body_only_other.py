"""Providers whose HMAC with SHA-1 or SHA-512 covers the raw body and nothing else."""

from __future__ import annotations

from proxy.core.schemes import events
from proxy.core.schemes.handshake import HEAD_ONLY, Handshake
from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Encoding, SecretForm

BASE64 = Encoding.BASE64

PROVIDERS = (
    Provider(
        "github_sha1",
        "GitHub (old signature)",
        "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        Scheme((b"x-hub-signature",), algorithm="sha1", prefix=b"sha1="),
        event_header=b"x-github-event",
        delivery_header=b"x-github-delivery",
        address_set="github",
        note="Only for senders that know nothing newer.",
        better="github",
        chosen=True,
        events=events.GITHUB,
    ),
    Provider(
        "autodesk",
        "Autodesk Platform Services",
        "https://aps.autodesk.com/en/docs/webhooks/v1/tutorials/how-to-verify-payload-signature",
        Scheme((b"x-adsk-signature",), algorithm="sha1", prefix=b"sha1hash="),
        delivery_header=b"x-adsk-delivery-id",
        event_place="hook.event",
    ),
    Provider(
        "autotask",
        "Autotask",
        "https://www.autotask.net/help/developerhelp/Content/APIs/Webhooks/SecretKeyPayloadVerification.htm",
        Scheme((b"x-hook-signature",), algorithm="sha1", prefix=b"sha1=", encoding=BASE64),
    ),
    Provider(
        "clearbit",
        "Clearbit",
        "https://dashboard.clearbit.com/docs",
        Scheme((b"x-request-signature",), algorithm="sha1", prefix=b"sha1="),
        note="This scheme was not checked against a delivery.",
    ),
    Provider(
        "intercom",
        "Intercom",
        "https://developers.intercom.com/docs/webhooks/setting-up-webhooks",
        Scheme((b"x-hub-signature",), algorithm="sha1", prefix=b"sha1="),
        note="The key is the client secret.",
        handshake=HEAD_ONLY,
        event_place="topic",
    ),
    Provider(
        "mongodb",
        "MongoDB Atlas alerts",
        "https://www.mongodb.com/docs/atlas/tutorial/third-party-service-integrations/",
        Scheme((b"x-mms-signature",), algorithm="sha1", encoding=Encoding.HEX_OR_BASE64),
        event_header=b"x-mms-event",
        chosen=True,
    ),
    Provider(
        "segment",
        "Segment",
        "https://segment.com/docs",
        Scheme((b"x-signature",), algorithm="sha1"),
        chosen=True,
        event_place="type",
    ),
    Provider(
        "sonatype",
        "Sonatype Nexus",
        "https://help.sonatype.com/en/working-with-hmac-payloads.html",
        Scheme((b"x-nexus-webhook-signature",), algorithm="sha1"),
        event_header=b"x-nexus-webhook-id",
        delivery_header=b"x-nexus-webhook-delivery",
        chosen=True,
    ),
    Provider(
        "vercel",
        "Vercel",
        "https://vercel.com/docs/webhooks/webhooks-api",
        Scheme((b"x-vercel-signature",), algorithm="sha1"),
        event_place="type",
    ),
    Provider(
        "webex",
        "Webex",
        "https://developer.webex.com/docs/webhooks",
        Scheme((b"x-spark-signature",), algorithm="sha1"),
        chosen=True,
    ),
    Provider(
        "authorize_net",
        "Authorize.net",
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
        event_place="eventType",
    ),
    Provider(
        "onfleet",
        "Onfleet",
        "https://docs.onfleet.com/reference/secrets",
        Scheme((b"x-onfleet-signature",), algorithm="sha512", secret=SecretForm.HEX),
        handshake=Handshake(query="check"),
    ),
    Provider(
        "paystack",
        "Paystack",
        "https://paystack.com/docs/payments/webhooks/",
        Scheme((b"x-paystack-signature",), algorithm="sha512"),
        event_place="event",
    ),
    Provider(
        "terraform",
        "HCP Terraform",
        "https://developer.hashicorp.com/terraform/cloud-docs/workspaces/settings/notifications",
        Scheme((b"x-tfe-notification-signature",), algorithm="sha512"),
        chosen=True,
        event_place="notifications[].trigger",
    ),
)
