"""What providers put around the proof of a delivery: their User-Agent, the fields besides, the proofs of older schemes
that they still send along, and whether a form may carry the JSON.

Data of ``send`` alone, as the providers publish it or as their deliveries show it. What serves judges none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.schemes import Provider
from proxy.values import frozen

#: Of a provider that is not known to have one of its own.
AGENT = "hookward-send"


@frozen
class Sender:
    """How one provider sends. ``also`` are the slugs of schemes whose proof goes along, with the same secret.

    In the values of ``fields``, ``{id}`` is the id of the delivery, ``{uuid}`` another id of its own, ``{event}`` the
    event, ``{time}`` the time in RFC 3339, ``{s}`` and ``{ms}`` the seconds and milliseconds since the epoch. ``form``
    is the field of a form that carries the JSON, "" where the provider has no such choice.
    """

    agent: str = AGENT
    fields: tuple[tuple[str, str], ...] = ()
    also: tuple[str, ...] = ()
    form: str = ""
    message_ids: bool = False  # ids are "msg_" with 27 characters, as Standard Webhooks has them; else UUIDs


_ANY = ("Accept", "*/*")
_UNKNOWN = Sender()
_STANDARD = Sender(fields=(_ANY,), message_ids=True)
_SVIX = Sender("Svix-Webhooks/1.62.0", (_ANY,), message_ids=True)
_GITHUB_FIELDS = (
    _ANY,
    ("X-GitHub-Hook-ID", "910001"),
    ("X-GitHub-Hook-Installation-Target-ID", "410001"),
    ("X-GitHub-Hook-Installation-Target-Type", "repository"),
)
_GITHUB_IDS = (("X-GitHub-Delivery", "{id}"), ("X-GitHub-Event", "{event}"))
_GITEA_AGENT = "Go-http-client/1.1"
_GITEA_TYPE = ("X-Gitea-Event-Type", "{event}")
_GITEA_FIELDS = (_GITEA_TYPE, ("X-Gogs-Delivery", "{id}"), ("X-Gogs-Event", "{event}"))
_FORGEJO_IDS = (("X-Forgejo-Event-Type", "{event}"), ("X-Gitea-Delivery", "{id}"), ("X-Gitea-Event", "{event}"))
_GITHUB_AGENT = "GitHub-Hookshot/044aadd"
_GITLAB_AGENT = "GitLab/17.9.1"
_GITLAB_FIELDS = (
    ("X-Gitlab-Instance", "https://gitlab.example"),
    ("X-Gitlab-Webhook-UUID", "5a9e2c14-0005-4000-8000-000000000005"),
)
_META = Sender("facebookexternalua", (_ANY,), also=("github_sha1",))
_SHOPIFY_AGENT = "Shopify-Captain-Hook"
_TWILIO = Sender("TwilioProxy/1.1", (_ANY,))

SENDERS: Mapping[str, Sender] = MappingProxyType(
    {
        "bitbucket": Sender(
            "Bitbucket-Webhooks/2.0",
            (("X-Hook-UUID", "5a9e2c14-0006-4000-8000-000000000006"), ("X-Attempt-Number", "1")),
        ),
        "discord": Sender("Discord-Interactions/1.0 (+https://discord.com)", (_ANY,)),
        "facebook_graph_api": _META,
        "facebook_messenger": _META,
        "forgejo": Sender(
            _GITEA_AGENT, (*_FORGEJO_IDS, _GITEA_TYPE, *_GITHUB_IDS), also=("gitea", "github", "github_sha1")
        ),
        "gitea": Sender(_GITEA_AGENT, (*_GITEA_FIELDS, *_GITHUB_IDS), also=("github", "github_sha1")),
        "github": Sender(_GITHUB_AGENT, _GITHUB_FIELDS, also=("github_sha1",), form="payload"),
        "github_sha1": Sender(_GITHUB_AGENT, _GITHUB_FIELDS, form="payload"),
        "gitlab": Sender(_GITLAB_AGENT, (*_GITLAB_FIELDS, ("Idempotency-Key", "{uuid}"))),
        "gitlab_signing_token": Sender(
            _GITLAB_AGENT, (*_GITLAB_FIELDS, ("X-Gitlab-Event-UUID", "{uuid}"), ("Idempotency-Key", "{id}"))
        ),
        "instagram": _META,
        "linear": Sender("Linear-Webhook", (("Linear-Timestamp", "{ms}"),)),
        "pagerduty": Sender("PagerDuty-Webhook/V3.0", (_ANY,)),
        "sendgrid": Sender("SendGrid Event API"),
        "sentry": Sender(fields=(("Sentry-Hook-Timestamp", "{s}"),)),
        "shopify": Sender(
            _SHOPIFY_AGENT,
            (
                _ANY,
                ("X-Shopify-Shop-Domain", "example.myshopify.com"),
                ("X-Shopify-API-Version", "2025-01"),
                ("X-Shopify-Event-Id", "{uuid}"),
                ("X-Shopify-Triggered-At", "{time}"),
            ),
        ),
        "shopify_events": Sender(_SHOPIFY_AGENT, (_ANY, ("Shopify-Shop-Domain", "example.myshopify.com"))),
        "slack": Sender("Slackbot 1.0 (+https://api.slack.com/robots)", (_ANY, ("Accept-Encoding", "gzip,deflate"))),
        "stripe": Sender(
            "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            (("Accept", "*/*; q=0.5, application/xml"), ("Cache-Control", "no-cache")),
        ),
        "twilio": _TWILIO,
        "twilio_sha256": _TWILIO,
        "whatsapp": _META,
        "zoom": Sender("Zoom Marketplace/1.0a"),
    }
)

_IDENTITIES = {b"webhook-id": _STANDARD, b"svix-id": _SVIX}

#: How providers write the names of fields whose words do not simply begin with a capital.
_SPELT = {
    name.lower(): name
    for name in (
        *("BOX-DELIVERY-ID", "BOX-DELIVERY-TIMESTAMP", "BOX-SIGNATURE-ALGORITHM", "BOX-SIGNATURE-PRIMARY"),
        *("BOX-SIGNATURE-VERSION", "svix-id", "svix-signature", "svix-timestamp", "webhook-id", "webhook-signature"),
        *("webhook-timestamp", "X-GitHub-Delivery", "X-GitHub-Event", "X-HubSpot-Request-Timestamp"),
        *("X-HubSpot-Signature", "X-HubSpot-Signature-v3", "X-HubSpot-Signature-Version", "X-PagerDuty-Signature"),
        *("X-LD-Signature", "X-WC-Webhook-Delivery-ID", "X-WC-Webhook-Signature", "X-WC-Webhook-Topic"),
        *("X-Signature-Ed25519", "X-Request-UUID", "WorkOS-Signature", "X-DocuSign-Signature-1"),
        *("X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp", "X-Gitlab-Event-UUID"),
    )
}


def sender_of(provider: Provider) -> Sender:
    """How ``provider`` sends, as far as it is known."""
    identity = provider.scheme.identity if provider.scheme is not None else None
    return SENDERS.get(provider.slug) or _IDENTITIES.get(identity or b"", _UNKNOWN)


def spelt(name: str) -> str:
    """The name of a field as its provider writes it; in HTTP, capitals mean nothing."""
    return _SPELT.get(name.lower()) or "-".join(word.capitalize() for word in name.split("-"))
