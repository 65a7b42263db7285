"""Providers whose HMAC with SHA-1 or SHA-512 covers the raw body and nothing else."""

from __future__ import annotations

from functools import partial

from proxy.core.schemes import events
from proxy.core.schemes.handshake import HEAD_ONLY, Handshake
from proxy.core.schemes.provider import Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Encoding, SecretForm

BASE64 = Encoding.BASE64

_sha1 = partial(Scheme, algorithm="sha1")
_sha512 = partial(Scheme, algorithm="sha512")

PROVIDERS = (
    Provider(
        "github_sha1",
        "GitHub (old signature)",
        "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        _sha1((b"x-hub-signature",), prefix=b"sha1="),
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
        _sha1((b"x-adsk-signature",), prefix=b"sha1hash="),
        delivery_header=b"x-adsk-delivery-id",
        event_place="hook.event",
    ),
    Provider(
        "autotask",
        "Autotask",
        "https://www.autotask.net/help/developerhelp/Content/APIs/Webhooks/SecretKeyPayloadVerification.htm",
        _sha1((b"x-hook-signature",), prefix=b"sha1=", encoding=BASE64),
    ),
    Provider(
        "clearbit",
        "Clearbit",
        "https://dashboard.clearbit.com/docs",
        _sha1((b"x-request-signature",), prefix=b"sha1="),
        note="This scheme was not checked against a delivery.",
    ),
    Provider(
        "intercom",
        "Intercom",
        "https://developers.intercom.com/docs/webhooks/setting-up-webhooks",
        _sha1((b"x-hub-signature",), prefix=b"sha1="),
        note="The key is the client secret.",
        handshake=HEAD_ONLY,
        event_place="topic",
    ),
    Provider(
        "mongodb",
        "MongoDB Atlas alerts",
        "https://www.mongodb.com/docs/atlas/tutorial/third-party-service-integrations/",
        _sha1((b"x-mms-signature",), encoding=Encoding.HEX_OR_BASE64),
        event_header=b"x-mms-event",
        chosen=True,
    ),
    Provider(
        "segment", "Segment", "https://segment.com/docs", _sha1((b"x-signature",)), chosen=True, event_place="type"
    ),
    Provider(
        "sonatype",
        "Sonatype Nexus",
        "https://help.sonatype.com/en/working-with-hmac-payloads.html",
        _sha1((b"x-nexus-webhook-signature",)),
        event_header=b"x-nexus-webhook-id",
        delivery_header=b"x-nexus-webhook-delivery",
        chosen=True,
    ),
    Provider(
        "vercel",
        "Vercel",
        "https://vercel.com/docs/webhooks/webhooks-api",
        _sha1((b"x-vercel-signature",)),
        event_place="type",
    ),
    Provider(
        "webex", "Webex", "https://developer.webex.com/docs/webhooks", _sha1((b"x-spark-signature",)), chosen=True
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
        _sha512((b"x-onfleet-signature",), secret=SecretForm.HEX),
        handshake=Handshake(query="check"),
    ),
    Provider(
        "paystack",
        "Paystack",
        "https://paystack.com/docs/payments/webhooks/",
        _sha512((b"x-paystack-signature",)),
        event_place="event",
    ),
    Provider(
        "terraform",
        "HCP Terraform",
        "https://developer.hashicorp.com/terraform/cloud-docs/workspaces/settings/notifications",
        _sha512((b"x-tfe-notification-signature",)),
        chosen=True,
        event_place="notifications[].trigger",
    ),
)
