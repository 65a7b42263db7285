"""Sample deliveries: what well-known providers send, with invented people and numbers, and one for all others.

The bodies are data beside this module (``samples/*.json``); a form is kept as an object of its fields. They are sent in
compact form, as the providers do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from urllib.parse import urlencode

from proxy.config.problems import suggestion
from proxy.core.schemes import Provider
from proxy.errors import Mistake
from proxy.values import frozen

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@frozen
class Sample:
    """One event. ``header`` is what the provider's event header says, where that is not the event's name."""

    event: str
    file: str
    header: str = ""
    content_type: str = JSON
    fields: tuple[tuple[str, str], ...] = ()  # further headers


_GITHUB = (
    Sample("push", "github.push"),
    Sample("ping", "github.ping"),
    Sample("pull_request", "github.pull_request"),
    Sample("issues", "github.issues"),
)
_GITEA = (Sample("push", "gitea.push"),)
_GITLAB = (
    Sample("push", "gitlab.push", "Push Hook"),
    Sample("merge_request", "gitlab.merge_request", "Merge Request Hook"),
)
_BITBUCKET = (
    Sample("repo:push", "bitbucket.repo_push"),
    Sample("pullrequest:created", "bitbucket.pullrequest_created"),
)
_META = (Sample("messages", "meta.messages"),)
_STANDARD = (Sample("user.created", "standard_webhooks.user.created"),)
_TWILIO = (Sample("message", "twilio.message", content_type=FORM),)
_HUBSPOT = (Sample("contact.creation", "hubspot.contact.creation"),)

GENERIC = Sample("test", "generic.test")

SAMPLES: Mapping[str, tuple[Sample, ...]] = MappingProxyType(
    {
        "adyen_payments": (Sample("AUTHORISATION", "adyen_payments.AUTHORISATION"),),
        "bitbucket": _BITBUCKET,
        "bitbucket_dc": _BITBUCKET,
        "braintree": (Sample("check", "braintree.check", content_type=FORM),),
        "dropbox": (Sample("list_folder", "dropbox.list_folder"),),
        "facebook_graph_api": _META,
        "facebook_messenger": _META,
        "forgejo": _GITEA,
        "gitea": _GITEA,
        "github": _GITHUB,
        "github_sha1": _GITHUB,
        "gitlab": _GITLAB,
        "gitlab_signing_token": _GITLAB,
        "hubspot_v1": _HUBSPOT,
        "hubspot_v2": _HUBSPOT,
        "hubspot_v3": _HUBSPOT,
        "instagram": _META,
        "jira": (Sample("jira:issue_created", "jira.jira_issue_created"),),
        "linear": (Sample("Issue", "linear.Issue"),),
        "mailchimp": (Sample("send", "mailchimp.send", content_type=FORM),),
        "mailgun": (Sample("opened", "mailgun.opened"),),
        "microsoft_graph": (Sample("created", "microsoft_graph.created"),),
        "pagerduty": (Sample("incident.triggered", "pagerduty.incident.triggered"),),
        "plivo": (Sample("message", "plivo.message", content_type=FORM),),
        "sentry": (Sample("issue", "sentry.issue"),),
        "shopify": (Sample("orders/create", "shopify.orders_create"),),
        "shopify_events": (Sample("orders/create", "shopify.orders_create"),),
        "slack": (
            Sample("event_callback", "slack.event_callback"),
            Sample("url_verification", "slack.url_verification"),
        ),
        "standard_webhooks": _STANDARD,
        "stripe": (
            Sample("checkout.session.completed", "stripe.checkout.session.completed"),
            Sample("payment_intent.succeeded", "stripe.payment_intent.succeeded"),
        ),
        "svix": _STANDARD,
        "telegram": (Sample("message", "telegram.message"),),
        "twilio": _TWILIO,
        "twilio_sha256": _TWILIO,
        "twitch": (
            Sample("stream.online", "twitch.stream.online", fields=(("Twitch-Eventsub-Message-Type", "notification"),)),
        ),
        "whatsapp": _META,
        "zoom": (Sample("meeting.started", "zoom.meeting.started"),),
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
        return Sample(event, GENERIC.file)
    for sample in known:
        if event.lower() in (sample.event.lower(), sample.header.lower()):
            return sample
    names = [sample.event for sample in known]
    mend = suggestion(event, names, otherwise=f"there are {', '.join(names)}; give your own with --body FILE")
    raise Mistake(f"there is no sample of this event of {provider.title}", mend)


def body_of(sample: Sample) -> bytes:
    """The sample's content, as it is sent."""
    text = resources.files("proxy.tools").joinpath("samples", f"{sample.file}.json").read_text("utf-8")
    tree = json.loads(text)
    if sample.content_type == FORM:
        return urlencode(tree).encode("ascii")
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
