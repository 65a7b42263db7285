"""Providers whose HMAC-SHA256 covers the raw body and nothing else, written in hex.

The products of Meta are among them: one app secret signs for all of these, and one endpoint check is made of each.
"""

from __future__ import annotations

from functools import partial

from proxy.core.schemes.provider import (
    BITBUCKET_DC_EVENTS,
    BITBUCKET_EVENTS,
    CIRCLECI_EVENTS,
    GITEA_EVENTS,
    GITHUB_EVENTS,
    LEMONSQUEEZY_EVENTS,
    SENTRY_EVENTS,
    UUID,
    Form,
    Handshake,
    Made,
    Provider,
    chosen,
)
from proxy.core.signing.proof import Scheme
from proxy.core.signing.scheme import Encoding, Listing, SecretForm

#: The app secret also signs what the browser of each user holds (``signed_request``, the cookie ``fbsr_``).
_META = Scheme((b"x-hub-signature-256",), prefix=b"sha256=", opening=b"{")
_META_DOCS = "https://developers.facebook.com/docs/graph-api/webhooks/getting-started"
_META_NOTE = "The key is the app secret; the body is signed as sent, with its \\u escapes."

_META_CHECK = Handshake(query="hub.challenge", fixed=(("hub.mode", "subscribe"),), verify="hub.verify_token")

_meta = partial(Provider, docs=_META_DOCS, scheme=_META, note=_META_NOTE, handshake=_META_CHECK, answer_s=20.0)

PROVIDERS = (
    chosen(
        "github",
        "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        Scheme((b"x-hub-signature-256",), prefix=b"sha256="),
        title="GitHub",
        event_header=b"x-github-event",
        delivery_header=b"x-github-delivery",
        address_set="github",
        note="GitHub never delivers again by itself: a delivery that is lost stays lost until it is asked for.",
        events=GITHUB_EVENTS,
    ),
    chosen(
        "bitbucket",
        "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/",
        Scheme((b"x-hub-signature",), prefix=b"sha256="),
        title="Bitbucket Cloud",
        event_header=b"x-event-key",
        delivery_header=b"x-request-uuid",
        address_set="atlassian",
        events=BITBUCKET_EVENTS,
    ),
    chosen(
        "bitbucket_dc",
        "https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html",
        Scheme((b"x-hub-signature",), prefix=b"sha256="),
        title="Bitbucket Data Center",
        event_header=b"x-event-key",
        delivery_header=b"x-request-id",
        events=BITBUCKET_DC_EVENTS,
    ),
    chosen(
        "gitea",
        "https://docs.gitea.com/usage/webhooks",
        Scheme((b"x-gitea-signature",)),
        event_header=b"x-gitea-event",
        delivery_header=b"x-gitea-delivery",
        events=GITEA_EVENTS,
    ),
    chosen(
        "forgejo",
        "https://forgejo.org/docs/latest/user/webhooks/",
        Scheme((b"x-forgejo-signature",)),
        event_header=b"x-forgejo-event",
        delivery_header=b"x-forgejo-delivery",
        events=GITEA_EVENTS,
    ),
    Provider("alchemy", "https://docs.alchemy.com/reference/notify-api-quickstart", Scheme((b"x-alchemy-signature",))),
    Provider(
        "asana",
        "https://developers.asana.com/docs/webhooks-guide",
        Scheme((b"x-hook-signature",)),
        note="The key is the X-Hook-Secret that Asana sends when the webhook is registered.",
        handshake=Handshake(
            b"POST",
            header=b"x-hook-secret",
            form=Form.NONE,
            reason="it hands over the key of all later signatures, which must be kept",
        ),
    ),
    chosen(
        "cal_com",
        "https://cal.com/docs",
        Scheme((b"x-cal-signature-256",)),
        title="Cal.com",
        event_place="triggerEvent",
    ),
    Provider(
        "chargify",
        "https://docs.maxio.com/hc/en-us/articles/24266163479309",
        Scheme((b"x-chargify-webhook-signature-hmac-sha-256",)),
        title="Maxio (Chargify)",
        delivery_header=b"x-chargify-webhook-id",
    ),
    chosen(
        "checkout_com",
        "https://www.checkout.com/docs",
        Scheme((b"cko-signature",)),
        title="Checkout.com",
        event_place="type",
    ),
    chosen(
        "circleci",
        "https://circleci.com/docs/outbound-webhooks/",
        Scheme((b"circleci-signature",), listing=Listing()),
        title="CircleCI",
        event_header=b"circleci-event-type",
        events=CIRCLECI_EVENTS,
    ),
    Provider(
        "clickup",
        "https://developer.clickup.com/docs/webhooksignature",
        Scheme((b"x-signature",)),
        title="ClickUp",
        event_place="event",
    ),
    Provider(
        "coinbase",
        "https://docs.cdp.coinbase.com/commerce/docs/webhooks-security",
        Scheme((b"x-cc-webhook-signature",)),
        title="Coinbase Commerce",
        event_place="event.type",
    ),
    Provider(
        "cursor",
        "https://docs.cursor.com/account/cloud-agent-webhooks",
        Scheme((b"x-webhook-signature",), prefix=b"sha256="),
        event_header=b"x-webhook-event",
        delivery_header=b"x-webhook-id",
    ),
    Provider(
        "dropbox",
        "https://www.dropbox.com/developers/reference/webhooks",
        Scheme((b"x-dropbox-signature",)),
        note="The key is the app secret.",
        handshake=Handshake(query="challenge"),
    ),
    chosen("dwolla", "https://developers.dwolla.com", Scheme((b"x-request-signature-sha-256",)), event_place="topic"),
    Provider(
        "gocardless",
        "https://developer.gocardless.com",
        Scheme((b"webhook-signature",), encoding=Encoding.HEX_ANY_CASE),
        title="GoCardless",
    ),
    chosen(
        "jira",
        "https://developer.atlassian.com/cloud/jira/platform/webhooks/",
        Scheme((b"x-hub-signature",), prefix=b"sha256="),
        delivery_header=b"x-atlassian-webhook-identifier",
        address_set="atlassian",
        event_place="webhookEvent",
    ),
    chosen(
        "launch_darkly",
        "https://launchdarkly.com/docs/home/infrastructure/webhooks",
        Scheme((b"x-ld-signature",)),
        title="LaunchDarkly",
        event_place="kind",
    ),
    chosen(
        "lemonsqueezy",
        "https://docs.lemonsqueezy.com/help/webhooks/signing-requests",
        Scheme((b"x-signature",)),
        title="Lemon Squeezy",
        event_header=b"x-event-name",
        events=LEMONSQUEEZY_EVENTS,
    ),
    Provider(
        "linear",
        "https://linear.app/developers/webhooks",
        Scheme((b"linear-signature",)),
        event_header=b"linear-event",
        delivery_header=b"linear-delivery",
        note="The signed time is inside the body (webhookTimestamp): the application should judge it, within 60 s.",
        answer_s=5.0,
    ),
    Provider(
        "linkedin",
        "https://learn.microsoft.com/linkedin/shared/api-guide/webhook-validation",
        Scheme((b"x-li-signature",), signed="hmacsha256={body}", opening=b"{"),
        title="LinkedIn",
        handshake=Handshake(
            query="challengeCode",
            optional=frozenset({"applicationId"}),
            shape=UUID,
            form=Form.JSON,
            values=(("challengeCode", Made.CHALLENGE), ("challengeResponse", Made.HMAC_HEX)),
        ),
    ),
    Provider(
        "modern_treasury",
        "https://docs.moderntreasury.com/platform/docs/configure-webhooks",
        Scheme((b"x-signature",)),
        event_header=b"x-topic",
        delivery_header=b"x-webhook-id",
    ),
    Provider(
        "notion",
        "https://developers.notion.com/reference/webhooks",
        Scheme((b"x-notion-signature",), prefix=b"sha256=", encoding=Encoding.HEX_ANY_CASE),
        note="The key is the verification token.",
        event_place="type",
    ),
    chosen("npm", "https://docs.npmjs.com/about-hooks", Scheme((b"x-npm-signature",), prefix=b"sha256="), title="npm"),
    Provider(
        "pagerduty",
        "https://developer.pagerduty.com/docs/verifying-webhook-signatures",
        Scheme((b"x-pagerduty-signature",), listing=Listing()),
        title="PagerDuty",
        delivery_header=b"x-webhook-id",
        address_set="pagerduty",
        answer_s=16.0,
        event_place="event.event_type",
    ),
    Provider(
        "pusher",
        "https://pusher.com/docs/channels/server_api/webhooks/",
        # The same key signs "socket:channel" for each visitor that may listen.
        Scheme((b"x-pusher-signature",), opening=b"{"),
        title="Pusher Channels",
    ),
    chosen(
        "razorpay",
        "https://razorpay.com/docs/webhooks/validate-test/",
        Scheme((b"x-razorpay-signature",)),
        delivery_header=b"x-razorpay-event-id",
        event_place="event",
    ),
    Provider(
        "sentry",
        "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        Scheme((b"sentry-hook-signature",)),
        event_header=b"sentry-hook-resource",
        delivery_header=b"request-id",
        note="The key is the client secret; Sentry-Hook-Timestamp is not signed and so not judged.",
        events=SENTRY_EVENTS,
    ),
    Provider("signal_sciences", "https://docs.fastly.com/en/ngwaf/generic-webhooks", Scheme((b"x-sigsci-signature",))),
    Provider(
        "squarespace",
        "https://developers.squarespace.com",
        Scheme((b"squarespace-signature",), secret=SecretForm.HEX),
        event_place="topic",
    ),
    chosen(
        "trendmicro_conformity",
        "https://cloudone.trendmicro.com/docs/conformity/webhook-communication/",
        Scheme((b"x-conformity-signature",)),
        title="Trend Micro Conformity",
    ),
    _meta("facebook_graph_api", title="Facebook Graph API", event_place="entry[].changes[].field"),
    _meta("facebook_messenger"),
    _meta("instagram"),
    _meta("whatsapp", title="WhatsApp", event_place="entry[].changes[].field"),
)
