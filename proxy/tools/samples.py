"""Sample deliveries: what well-known providers send, with invented people and numbers, and one for all others; and what
they put around the proof: their User-Agent, the fields besides, the proofs of older schemes that they still send along.

The bodies are data beside this module (``samples/*.json``); a form is kept as an object of its fields. They are sent in
compact form, as most providers do. Three marks in the data are filled in for each delivery: ``"@include"`` takes over
another file, ``"@now…"`` is its time, ``"@id:PREFIX:LENGTH"``, ``"@hex:PREFIX"`` and ``"@uuid"`` are ids of it.

Data of ``send`` alone, as the providers publish it or as their deliveries show it. What serves judges none of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from proxy.config.problems import suggestion
from proxy.core.payload import Pointer
from proxy.core.schemes import Provider
from proxy.errors import Mistake
from proxy.http1 import utc_text
from proxy.values import frozen

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

_INCLUDE = "@include"
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@frozen
class Sample:
    """One event. ``header`` is what the provider's event header says, where that is not the event's name."""

    event: str
    file: str
    header: str = ""
    content_type: str = JSON
    fields: tuple[tuple[str, str], ...] = ()  # further headers
    indent: int | None = None  # how far JSON is indented; None: it is compact
    carrier: str = ""  # the field of a form that carries the JSON; "" where the content is no such form
    place: str = ""  # where the event is written into the document; "" where it says its event itself

    @property
    def is_form(self) -> bool:
        """Whether the content is a form."""
        return self.content_type.partition(";")[0] == FORM


@frozen
class Moment:
    """When a delivery is made, in seconds since the epoch, and its id, which all ids in it are made from."""

    now: float
    delivery_id: str

    @property
    def rfc3339(self) -> str:
        """The time as ``2026-03-01T09:15:00Z``."""
        return utc_text(int(self.now))

    def letters(self, purpose: str, length: int) -> str:
        """Letters and digits; the same for the same purpose."""
        number = int.from_bytes(hashlib.sha512(f"{self.delivery_id} {purpose}".encode()).digest())
        out = ""
        for _ in range(length):
            number, at = divmod(number, len(_LETTERS))
            out += _LETTERS[at]
        return out

    def hex(self, purpose: str) -> str:
        """32 hexadecimal digits; the same for the same purpose."""
        return hashlib.sha256(f"{self.delivery_id} {purpose}".encode()).hexdigest()[:32]

    def uuid(self, purpose: str) -> str:
        """A UUID; the same for the same purpose."""
        digits = self.hex(purpose)
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _of(family: str, *events: str, **how: Any) -> tuple[Sample, ...]:
    """The samples of these events, whose files are named after both."""
    return tuple(Sample(event, f"{family}.{re.sub('[:/]', '_', event)}", **how) for event in events)


_GITHUB = _of("github", "push", "ping", "pull_request", "issues", "issue_comment", "release", "create", "delete")
_GITLAB = (*_of("gitlab", "push", header="Push Hook"), *_of("gitlab", "merge_request", header="Merge Request Hook"))
_TWILIO = _of("twilio", "message", "call", "message_status", content_type=f"{FORM}; charset=UTF-8")
_STRIPE = ("checkout.session.completed", "payment_intent.succeeded")
_TWITCH_FIELDS = (("Twitch-Eventsub-Message-Type", "notification"),)
_META_SLUGS = ("facebook_graph_api", "facebook_messenger", "instagram", "whatsapp")

GENERIC = Sample("test", "generic.test")

SAMPLES: Mapping[str, tuple[Sample, ...]] = MappingProxyType(
    {
        "adyen_payments": _of("adyen_payments", "AUTHORISATION"),
        **dict.fromkeys(("bitbucket", "bitbucket_dc"), _of("bitbucket", "repo:push", "pullrequest:created")),
        "braintree": _of("braintree", "check", content_type=FORM),
        "discord": _of("discord", "command", "ping"),
        "dropbox": _of("dropbox", "list_folder"),
        **dict.fromkeys(("forgejo", "gitea"), _of("gitea", "push")),
        **dict.fromkeys(("github", "github_sha1"), _GITHUB),
        **dict.fromkeys(("gitlab", "gitlab_signing_token"), _GITLAB),
        **dict.fromkeys(("hubspot_v1", "hubspot_v2", "hubspot_v3"), _of("hubspot", "contact.creation")),
        "jira": _of("jira", "jira:issue_created"),
        "linear": _of("linear", "Issue"),
        "mailchimp": _of("mailchimp", "send", content_type=FORM),
        "mailgun": _of("mailgun", "opened"),
        **dict.fromkeys(_META_SLUGS, _of("meta", "messages")),
        "microsoft_graph": _of("microsoft_graph", "created"),
        "pagerduty": _of("pagerduty", "incident.triggered"),
        "plivo": _of("plivo", "message", content_type=FORM),
        "sendgrid": _of("sendgrid", "delivered"),
        "sentry": _of("sentry", "issue"),
        "shopify": _of("shopify", "orders/create", "app/uninstalled"),
        "shopify_events": _of("shopify", "orders/create"),
        "slack": (
            *_of("slack", "event_callback", "url_verification"),
            *_of("slack", "command", content_type=FORM),
            *_of("slack", "block_actions", content_type=FORM, carrier="payload"),
        ),
        **dict.fromkeys(("standard_webhooks", "svix"), _of("standard_webhooks", "user.created")),
        "stripe": _of("stripe", *_STRIPE, content_type=f"{JSON}; charset=utf-8", indent=2),
        "telegram": _of("telegram", "message"),
        **dict.fromkeys(("twilio", "twilio_sha256"), _TWILIO),
        "twitch": _of("twitch", "stream.online", fields=_TWITCH_FIELDS),
        "zoom": _of("zoom", "meeting.started"),
    }
)


def samples_of(provider: Provider) -> tuple[Sample, ...]:
    """The samples of a provider, the usual one first; never empty."""
    return SAMPLES.get(provider.slug, (GENERIC,))


def choose(provider: Provider, event: str | None) -> Sample:
    """The sample for an event (None: the usual one). Mistake, with the known names, where there is none.

    A provider without samples of its own takes any event's name: the body is the general one.
    """
    known = samples_of(provider)
    if event is None:
        return known[0]
    if known == (GENERIC,):
        return Sample(event, GENERIC.file, place=provider.event_place)
    for sample in known:
        if event.lower() in (sample.event.lower(), sample.header.lower()):
            return sample
    names = [sample.event for sample in known]
    mend = suggestion(event, names, otherwise=f"there are {', '.join(names)}; give your own with --body FILE")
    raise Mistake(f"there is no sample of this event of {provider.title}", mend)


def body_of(sample: Sample, moment: Moment) -> bytes:
    """The sample's content, as it is sent at ``moment``."""
    tree = _filled(_read(sample.file), moment)
    if sample.place:
        tree = _with_event(tree, Pointer.parse(sample.place).steps, sample.event)
    if sample.is_form and not sample.carrier:
        return urlencode(tree).encode("ascii")
    separators = (",", ":") if sample.indent is None else None
    text = json.dumps(tree, indent=sample.indent, separators=separators, ensure_ascii=False)
    return carried(sample.carrier, text.encode("utf-8")) if sample.carrier else text.encode("utf-8")


def carried(name: str, content: bytes) -> bytes:
    """A form whose field ``name`` carries the content."""
    return urlencode({name: content}).encode("ascii")


def _read(file: str) -> Any:
    return json.loads(resources.files("proxy.tools").joinpath("samples", f"{file}.json").read_text("utf-8"))


def _filled(node: Any, moment: Moment) -> Any:
    """``node`` with its marks filled in."""
    if isinstance(node, dict):
        whole = _read(node[_INCLUDE]) | node if _INCLUDE in node else node
        return {key: _filled(value, moment) for key, value in whole.items() if key != _INCLUDE}
    if isinstance(node, list):
        return [_filled(value, moment) for value in node]
    if isinstance(node, str) and node.startswith("@"):
        mark, _, rest = node[1:].partition(":")
        return _MARKS[mark](moment, rest)
    return node


def _with_event(node: Any, steps: tuple[str, ...], event: str) -> Any:
    """``node`` with the event at a place of it, which is made where there is none."""
    if not steps:
        return event
    step, rest = steps[0], steps[1:]
    if step == "[]":
        return [_with_event(one, rest, event) for one in (node if isinstance(node, list) and node else [None])]
    whole = node if isinstance(node, dict) else {}
    return whole | {step: _with_event(whole.get(step), rest, event)}


def _letters(moment: Moment, rest: str) -> str:
    prefix, _, length = rest.partition(":")
    return prefix + moment.letters(prefix, int(length))


_MARKS: Mapping[str, Callable[[Moment, str], object]] = MappingProxyType(
    {
        "now": lambda moment, _: int(moment.now),
        "now_ms": lambda moment, _: int(moment.now * 1000),
        "now_iso": lambda moment, _: moment.rfc3339,
        "now_slack": lambda moment, _: f"{moment.now:.6f}",
        "uuid": lambda moment, _: moment.uuid(""),
        "id": _letters,
        "hex": lambda moment, prefix: prefix + moment.hex(prefix),
    }
)


# -- what stands around the proof

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
_STANDARD_SENDER = Sender(fields=(_ANY,), message_ids=True)
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
_SHOPIFY_AGENT = "Shopify-Captain-Hook"

SENDERS: Mapping[str, Sender] = MappingProxyType(
    {
        "bitbucket": Sender(
            "Bitbucket-Webhooks/2.0",
            (("X-Hook-UUID", "5a9e2c14-0006-4000-8000-000000000006"), ("X-Attempt-Number", "1")),
        ),
        "discord": Sender("Discord-Interactions/1.0 (+https://discord.com)", (_ANY,)),
        **dict.fromkeys(_META_SLUGS, Sender("facebookexternalua", (_ANY,), also=("github_sha1",))),
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
        **dict.fromkeys(("twilio", "twilio_sha256"), Sender("TwilioProxy/1.1", (_ANY,))),
        "zoom": Sender("Zoom Marketplace/1.0a"),
    }
)

_IDENTITIES = {b"webhook-id": _STANDARD_SENDER, b"svix-id": _SVIX}

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
