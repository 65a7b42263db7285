"""Providers that sign nothing and send a token: decided on the head alone. With the token anything can be forged."""

from __future__ import annotations

from functools import partial

from proxy.core.schemes import events
from proxy.core.schemes.provider import Form, Handshake, Made, Provider, TokenSpec
from proxy.core.tokens import TokenKind

_OWN_HEADER = TokenSpec(TokenKind.HEADER, b"authorization")
_OWN_HEADER_NOTE = "You choose the header there; the whole value is compared. Another name: token = { header = ... }."
_BASIC = TokenSpec(TokenKind.BASIC)
_BASIC_NOTE = "The secret is written user:password."
_IN_QUERY = TokenSpec(TokenKind.QUERY, b"token")

_own_header = partial(Provider, token=_OWN_HEADER, note=_OWN_HEADER_NOTE, chosen=True)
_basic = partial(Provider, token=_BASIC, note=_BASIC_NOTE, chosen=True)

PROVIDERS = (
    Provider(
        "gitlab",
        "GitLab",
        "https://docs.gitlab.com/user/project/integrations/webhooks/",
        token=TokenSpec(TokenKind.HEADER, b"x-gitlab-token"),
        event_header=b"x-gitlab-event",
        delivery_header=b"x-gitlab-event-uuid",
        address_set="gitlab",
        note="Newer GitLab can sign.",
        better="gitlab_signing_token",
        chosen=True,
        events=events.GITLAB,
    ),
    Provider(
        "buildkite_token",
        "Buildkite (token)",
        "https://buildkite.com/docs/apis/webhooks/pipelines",
        token=TokenSpec(TokenKind.HEADER, b"x-buildkite-token"),
        event_header=b"x-buildkite-event",
        note="Buildkite can sign.",
        better="buildkite",
        events=events.BUILDKITE,
    ),
    Provider(
        "deepgram",
        "Deepgram",
        "https://developers.deepgram.com/docs/callback",
        token=TokenSpec(TokenKind.HEADER, b"dg-token"),
    ),
    Provider(
        "telegram",
        "Telegram",
        "https://core.telegram.org/bots/api#setwebhook",
        token=TokenSpec(TokenKind.HEADER, b"x-telegram-bot-api-secret-token"),
        chosen=True,
    ),
    _own_header("bigcommerce", "BigCommerce", "https://developer.bigcommerce.com/docs/integrations/webhooks"),
    _own_header("brevo", "Brevo", "https://developers.brevo.com/docs/how-to-use-webhooks", event_place="event"),
    _own_header("datadog", "Datadog", "https://docs.datadoghq.com/integrations/webhooks/", address_set="datadog"),
    _own_header(
        "new_relic", "New Relic", "https://docs.newrelic.com/docs/alerts/get-notified/notification-integrations/"
    ),
    _own_header(
        "okta",
        "Okta",
        "https://developer.okta.com/docs/concepts/event-hooks/",
        handshake=Handshake(
            header=b"x-okta-verification-challenge", form=Form.JSON, values=(("verification", Made.CHALLENGE),)
        ),
        event_place="data.events[].eventType",
    ),
    _basic(
        "bitbucket_dc_basic",
        "Bitbucket Data Center (Basic)",
        "https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html",
        event_header=b"x-event-key",
        delivery_header=b"x-request-id",
        events=events.BITBUCKET_DC,
    ),
    _basic("chargebee", "Chargebee", "https://www.chargebee.com/docs/webhook_settings.html", event_place="event_type"),
    _basic("mixpanel", "Mixpanel", "https://docs.mixpanel.com/docs/cohort-sync/webhooks"),
    _basic(
        "postmark", "Postmark", "https://postmarkapp.com/developer/webhooks/webhooks-overview", event_place="RecordType"
    ),
    _basic("sparkpost", "SparkPost", "https://developers.sparkpost.com/api/webhooks/"),
    _basic(
        "vmware", "Workspace ONE UEM", "https://docs.omnissa.com/bundle/ConsoleBasicsVSaaS/page/EventNotification.html"
    ),
    Provider(
        "flexdeploy",
        "FlexDeploy",
        "https://flexagon.com/flexdeploy/documentation/",
        token=_IN_QUERY,
        note="The token is in the URL, and is removed from what is forwarded and logged.",
        chosen=True,
    ),
    Provider(
        "mailchimp_marketing",
        "Mailchimp Marketing",
        "https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/",
        token=_IN_QUERY,
        note="Mailchimp does not sign: put ?token=... into the URL there.",
        handshake=Handshake(form=Form.EMPTY, values=()),
        chosen=True,
        event_place="type",
    ),
)
