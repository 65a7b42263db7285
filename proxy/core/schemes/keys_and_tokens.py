"""Providers that sign with a private key of theirs (which needs the package cryptography, and the key is configured),
that send a signed token (JWT) whose claims hold the digest of the body, or only name the provider, and that sign
nothing and send a token: decided on the head alone, and with that token anything can be forged.
"""

from __future__ import annotations

from functools import partial

from proxy.core.schemes.provider import (
    BITBUCKET_DC_EVENTS,
    BUILDKITE_EVENTS,
    GITLAB_EVENTS,
    Form,
    Handshake,
    Made,
    Provider,
    TokenSpec,
    chosen,
    in_base64,
    signed_check,
)
from proxy.core.signing.proof import Scheme, TokenKind
from proxy.core.signing.scheme import BodyForm, Claims, Document, Encoding, Method, SecretForm, TimeFormat, Timestamp

_token = partial(Scheme, method=Method.JWT)

_KEYS = (
    Provider(
        "discord",
        "https://docs.discord.com/developers/interactions/overview",
        Scheme(
            (b"x-signature-ed25519",),
            signed="{timestamp}{body}",
            method=Method.ED25519,
            timestamp=Timestamp(b"x-signature-timestamp"),
            secret=SecretForm.ED25519_HEX,
        ),
        title="Discord interactions",
        refusal_status=401,
        note="The secret is the application's public key, in hex; wrong signatures must be answered 401.",
        handshake=signed_check(marks=(("type", 1),), form=Form.JSON, values=(("type", 1),)),
    ),
    Provider(
        "ebay",
        "https://developer.ebay.com/marketplace-account-deletion",
        in_base64(
            (b"x-ebay-signature",),
            method=Method.ECDSA,
            algorithm="sha1",
            envelope="signature",
            secret=SecretForm.PUBLIC_KEY,
        ),
        title="eBay",
        note="Keys are configured, not fetched: the public key that eBay's Notification API shows. It signs for all "
        "applications: anybody's delivery is genuine here, so compare in the body what is yours.",
        handshake=Handshake(query="challenge_code", form=Form.JSON, values=(("challengeResponse", Made.DIGEST_HEX),)),
        event_place="metadata.topic",
    ),
    Provider(
        "paypal",
        "https://developer.paypal.com/api/rest/webhooks/",
        in_base64(
            (b"paypal-transmission-sig",),
            signed="{id}|{timestamp}|{key_id}|{body}",
            method=Method.RSA,
            identity=b"paypal-transmission-id",
            timestamp=Timestamp(b"paypal-transmission-time", TimeFormat.RFC3339, None),
            body_forms=(BodyForm.CRC32,),
            secret=SecretForm.PUBLIC_KEY,
            two_part=True,
        ),
        title="PayPal",
        delivery_header=b"paypal-transmission-id",
        note="The secret is written webhook-id:certificate (PEM). One certificate signs for all customers: the webhook "
        "id is what makes a delivery yours. Only a CRC-32 of the body is signed, and a body can be made for any: "
        "anybody with one delivery can replace its body, so fetch the object by its id before you believe it.",
        event_place="event_type",
    ),
    Provider(
        "sendgrid",
        "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/"
        "getting-started-event-webhook-security-features",
        in_base64(
            (b"x-twilio-email-event-webhook-signature",),
            signed="{timestamp}{body}",
            method=Method.ECDSA,
            timestamp=Timestamp(b"x-twilio-email-event-webhook-timestamp"),
            secret=SecretForm.PUBLIC_KEY,
        ),
        title="SendGrid",
        note="The secret is the verification key, in base64.",
        event_place="[].event",
    ),
    Provider(
        "telnyx",
        "https://developers.telnyx.com",
        in_base64(
            (b"telnyx-signature-ed25519",),
            signed="{timestamp}|{body}",
            method=Method.ED25519,
            timestamp=Timestamp(b"telnyx-timestamp"),
            secret=SecretForm.ED25519_BASE64,
        ),
        note="The secret is the public key, in base64.",
        event_place="data.event_type",
    ),
    Provider(
        "wise",
        "https://docs.wise.com",
        in_base64((b"x-signature-sha256",), method=Method.RSA, secret=SecretForm.PUBLIC_KEY),
        delivery_header=b"x-delivery-id",
        note="The secret is the public key that Wise publishes, in PEM. It signs for all customers: anybody's delivery "
        "is genuine here, so compare the profile id in the body with your own.",
        event_place="event_type",
    ),
)


_HMACS = ("HS256", "HS384", "HS512")
_fusionauth = partial(
    Provider, docs="https://fusionauth.io/docs/extend/events-and-webhooks/signing", event_place="event.type"
)
_fusionauth_token = partial(_token, (b"x-fusionauth-signature-jwt",))
_fusionauth_claims = partial(Claims, body="request_body_sha256", body_encoding=Encoding.BASE64)

_CLAIMS = (
    _fusionauth(
        "fusionauth", scheme=_fusionauth_token(claims=_fusionauth_claims(_HMACS)), title="FusionAuth (shared key)"
    ),
    _fusionauth(
        "fusionauth_public_key",
        scheme=_fusionauth_token(
            secret=SecretForm.PUBLIC_KEY,
            claims=_fusionauth_claims(("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")),
        ),
        title="FusionAuth (key pair)",
    ),
    Provider(
        "kinde",
        "https://docs.kinde.com",
        _token(
            (),
            secret=SecretForm.PUBLIC_KEY,
            claims=Claims(("RS256",), texts=("type", "event_id")),
            document=Document("jwt"),
        ),
        note="The body is the token; configure the public key of your domain and replace it when it is rotated. The "
        "same key signs the tokens of your users: only what names its type and event_id is an event.",
    ),
    Provider(
        "livekit",
        "https://docs.livekit.io/home/server/webhooks/",
        _token(
            (b"authorization",),
            two_part=True,
            claims=Claims(
                body="sha256", body_encoding=Encoding.BASE64, needed=("exp",), leeway_s=60, issuer_is_key_id=True
            ),
        ),
        title="LiveKit",
        note="The secret is written key:secret.",
        event_place="event",
    ),
    Provider(
        "messagebird",
        "https://developers.messagebird.com/api/#verifying-http-requests",
        _token(
            (b"messagebird-signature-jwt",),
            claims=Claims(
                _HMACS,
                body="payload_hash",
                body_optional=True,
                url="url_hash",
                needed=("exp", "nbf"),
                issuer="MessageBird",
                identity="jti",
            ),
        ),
        title="MessageBird",
        methods=("POST", "GET"),
    ),
    Provider(
        "monday",
        "https://developer.monday.com/apps/docs/integration-authorization",
        _token((b"authorization",), claims=Claims(needed=("exp",), audience_is_url=True)),
        title="monday.com",
        note="The token names the sender and the endpoint; nothing covers the body. Set public_url: without it only "
        "path and query of the endpoint are compared.",
        handshake=signed_check(field="challenge", form=Form.JSON, values=(("challenge", Made.CHALLENGE),)),
        event_place="event.type",
    ),
    chosen(
        "netlify",
        "https://docs.netlify.com",
        _token((b"x-webhook-signature",), claims=Claims(body="sha256", issuer="netlify")),
        event_header=b"x-netlify-event",
    ),
    Provider(
        "plaid",
        "https://plaid.com/docs/api/webhooks/webhook-verification/",
        _token(
            (b"plaid-verification",),
            secret=SecretForm.PUBLIC_KEY,
            claims=Claims(("ES256",), body="request_body_sha256", needed=("iat",), max_age_s=300),
        ),
        note="Keys are configured, not fetched: the JSON Web Key that Plaid's API shows, both while it rotates.",
        event_place="webhook_code",
    ),
    Provider(
        "vonage",
        "https://developer.vonage.com/en/getting-started/concepts/webhooks",
        _token(
            (b"authorization",), prefix=b"Bearer ", claims=Claims(body="payload_hash", needed=("iat",), max_age_s=300)
        ),
        note="Choose POST there: what it signs of a GET is the query, written anew, and is refused.",
        methods=("POST", "GET"),
    ),
)


_OWN_HEADER = TokenSpec(TokenKind.HEADER, b"authorization")
_OWN_HEADER_NOTE = "You choose the header there; the whole value is compared. Another name: token = { header = ... }."
_BASIC = TokenSpec(TokenKind.BASIC)
_BASIC_NOTE = "The secret is written user:password."
_IN_QUERY = TokenSpec(TokenKind.QUERY, b"token")

_own_header = partial(Provider, token=_OWN_HEADER, note=_OWN_HEADER_NOTE, chosen=True)
_basic = partial(Provider, token=_BASIC, note=_BASIC_NOTE, chosen=True)

TOKEN_ONLY = (
    chosen(
        "gitlab",
        "https://docs.gitlab.com/user/project/integrations/webhooks/",
        title="GitLab",
        token=TokenSpec(TokenKind.HEADER, b"x-gitlab-token"),
        event_header=b"x-gitlab-event",
        delivery_header=b"x-gitlab-event-uuid",
        address_set="gitlab",
        note="Newer GitLab can sign.",
        better="gitlab_signing_token",
        events=GITLAB_EVENTS,
    ),
    Provider(
        "buildkite_token",
        "https://buildkite.com/docs/apis/webhooks/pipelines",
        title="Buildkite (token)",
        token=TokenSpec(TokenKind.HEADER, b"x-buildkite-token"),
        event_header=b"x-buildkite-event",
        note="Buildkite can sign.",
        better="buildkite",
        events=BUILDKITE_EVENTS,
    ),
    Provider(
        "deepgram", "https://developers.deepgram.com/docs/callback", token=TokenSpec(TokenKind.HEADER, b"dg-token")
    ),
    chosen(
        "telegram",
        "https://core.telegram.org/bots/api#setwebhook",
        token=TokenSpec(TokenKind.HEADER, b"x-telegram-bot-api-secret-token"),
    ),
    _own_header("bigcommerce", "https://developer.bigcommerce.com/docs/integrations/webhooks", title="BigCommerce"),
    _own_header("brevo", "https://developers.brevo.com/docs/how-to-use-webhooks", event_place="event"),
    _own_header("datadog", "https://docs.datadoghq.com/integrations/webhooks/", address_set="datadog"),
    _own_header("new_relic", "https://docs.newrelic.com/docs/alerts/get-notified/notification-integrations/"),
    _own_header(
        "okta",
        "https://developer.okta.com/docs/concepts/event-hooks/",
        handshake=Handshake(
            header=b"x-okta-verification-challenge", form=Form.JSON, values=(("verification", Made.CHALLENGE),)
        ),
        event_place="data.events[].eventType",
    ),
    _basic(
        "bitbucket_dc_basic",
        "https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html",
        title="Bitbucket Data Center (Basic)",
        event_header=b"x-event-key",
        delivery_header=b"x-request-id",
        events=BITBUCKET_DC_EVENTS,
    ),
    _basic("chargebee", "https://www.chargebee.com/docs/webhook_settings.html", event_place="event_type"),
    _basic("mixpanel", "https://docs.mixpanel.com/docs/cohort-sync/webhooks"),
    _basic("postmark", "https://postmarkapp.com/developer/webhooks/webhooks-overview", event_place="RecordType"),
    _basic("sparkpost", "https://developers.sparkpost.com/api/webhooks/", title="SparkPost"),
    _basic(
        "vmware",
        "https://docs.omnissa.com/bundle/ConsoleBasicsVSaaS/page/EventNotification.html",
        title="Workspace ONE UEM",
    ),
    chosen(
        "flexdeploy",
        "https://flexagon.com/flexdeploy/documentation/",
        title="FlexDeploy",
        token=_IN_QUERY,
        note="The token is in the URL, and is removed from what is forwarded and logged.",
    ),
    chosen(
        "mailchimp_marketing",
        "https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/",
        token=_IN_QUERY,
        note="Mailchimp does not sign: put ?token=... into the URL there.",
        handshake=Handshake(form=Form.EMPTY, values=()),
        event_place="type",
    ),
)

PROVIDERS = _KEYS + _CLAIMS + TOKEN_ONLY
