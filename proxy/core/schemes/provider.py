"""A provider as data: how it signs, where its documents are, how long it waits, and what else is known of it.

``decode_secret`` makes of a secret, as the provider shows it, the key that is compared with. Every mistake says how to
mend it and never holds a character of the secret.

A ``Handshake`` is how it checks that an endpoint expects it: what it sends, and how the answer is made from that. A
signed check is a delivery like any other and is looked at after its verdict. An unsigned one carries no proof, so its
shape is all we have: one method, no content, exactly these query parameters or this header, and a challenge that is
bounded in length and alphabet. Nothing here reads a request: that is ``core.handshakes``.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum
from functools import partial

from proxy.core.signing.proof import Scheme, TokenKind, load_pubkey, needs_public_keys
from proxy.core.signing.scheme import Encoding, SecretForm, decode_base64, decode_hex
from proxy.errors import Mistake
from proxy.values import frozen

#: What is only given back: no blank, no quote, no markup, no separator of queries.
PLAIN = re.compile(r"[A-Za-z0-9._~+/=:-]{1,256}")
#: What is signed with the key that signs bodies as well. It never has the ``opening`` that the scheme asks of a body,
#: nor what stands before a body in the signed text; and nothing that reads as JSON or as a form, for other readers.
KEYED = re.compile(r"(?!(?:-?[0-9]+(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity)\Z)[A-Za-z0-9_+/-]{1,128}={0,2}")
#: LinkedIn's (RFC 9562 section 4).
UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
#: Microsoft's is a sentence with an id.
SENTENCE = re.compile(r"[A-Za-z0-9 ._~+/=:,()-]{1,1024}")


class Form(Enum):
    """What the answer is."""

    NONE = "none"  # the application's alone
    EMPTY = "empty"
    TEXT = "text"
    JSON = "json"


class Made(Enum):
    """A value that is made from the challenge."""

    CHALLENGE = "challenge"  # as it came, decoded
    HMAC_HEX = "hmac_hex"  # HMAC-SHA-256 with the secret
    HMAC_BASE64 = "hmac_base64"
    DIGEST_HEX = "digest_hex"  # SHA-256 of challenge, verify token and endpoint URL


@frozen
class Handshake:
    """One provider's endpoint check. Header names are lower case; texts of the query are as they read decoded.

    The challenge is in the parameter ``query``, the header ``header`` or, where ``signed``, at the dotted ``field`` of
    the JSON body; there may be none. ``reason`` says why none but the application can answer (``Form.NONE``).
    """

    method: bytes = b"GET"
    signed: bool = False
    query: str = ""
    header: bytes = b""
    field: str = ""
    fixed: tuple[tuple[str, str], ...] = ()  # parameters that must have exactly this value
    verify: str = ""  # parameter that must equal the route's verify token
    optional: frozenset[str] = frozenset()  # parameters that may be there
    marks: tuple[tuple[str, object], ...] = ()  # dotted paths of the body that must have exactly this value
    marked_by: tuple[bytes, bytes] | None = None  # header that must have exactly this value
    shape: re.Pattern[str] = PLAIN
    form: Form = Form.TEXT
    values: tuple[tuple[str, Made | int], ...] = (("", Made.CHALLENGE),)  # JSON: each key; TEXT: the only one
    mac_prefix: str = ""  # before a MAC
    reason: str = ""
    bare_refusals: bool = False  # the provider also tries wrong signatures, and takes no content for an answer

    @property
    def challenges(self) -> bool:
        """Whether a check that is not signed has a challenge."""
        return bool(self.query or self.header)

    @property
    def needs_token(self) -> bool:
        """Whether we cannot answer without the verify token."""
        return bool(self.verify) or self._makes(Made.DIGEST_HEX)

    @property
    def needs_url(self) -> bool:
        """Whether we cannot answer without the public URL."""
        return self._makes(Made.DIGEST_HEX)

    @property
    def needs_secret(self) -> bool:
        """Whether the answer is made with the secret that signs bodies."""
        return self._makes(Made.HMAC_HEX) or self._makes(Made.HMAC_BASE64)

    @property
    def header_names(self) -> frozenset[bytes]:
        """Headers that the check is known by."""
        return frozenset(name for name in (self.header, self.marked_by[0] if self.marked_by else b"") if name)

    @property
    def request(self) -> str:
        """What the provider sends, in a few words."""
        words = ["signed"] if self.signed else []
        parameters = [f"{name}={value}" for name, value in self.fixed]
        parameters += [f"{name}=" for name in (self.verify, self.query) if name]
        words.append(self.method.decode("ascii") + (f" ?{'&'.join(parameters)}" if parameters else ""))
        if self.header:
            words.append(f"{self.header.decode('ascii')}:")
        if self.marked_by is not None:
            words.append(b": ".join(self.marked_by).decode("ascii"))
        words += [f"{path}={value}" for path, value in self.marks]
        if self.field:
            words.append(f"{self.field}=")
        return " ".join(words)

    @property
    def answer(self) -> str:
        """What it expects, in a few words; "" where we cannot answer."""
        if self.form is Form.JSON:
            parts = [name if isinstance(value, Made) else f"{name}={value}" for name, value in self.values]
            return f"JSON {', '.join(parts)}"
        return {Form.NONE: "", Form.EMPTY: "empty", Form.TEXT: "the challenge"}[self.form]

    def _makes(self, made: Made) -> bool:
        return any(value is made for _, value in self.values)


#: HEAD, before the webhook is made: any 200 will do.
HEAD_ONLY = Handshake(b"HEAD", form=Form.EMPTY, values=())


#: What most providers wait for an answer, in seconds, before they hang up and, most of them, send again. Others say
#: so in their documents, or their operators report it.
ANSWER_S = 10.0


@frozen
class TokenSpec:
    """Where a provider without signatures puts its token. ``name``: lower-case header, or query key; b"" for Basic."""

    kind: TokenKind
    name: bytes = b""


@frozen
class Provider:
    """A service that sends webhooks. ``docs`` is the page that describes the scheme; header names are lower case.
    ``title`` is what it is called, where that is not its slug in words.

    ``refusal_status`` is what the provider demands instead of 403; ``address_set`` names the published list of its
    addresses, where there is one; ``note`` is what an operator should know, in a sentence; ``better`` is the slug of a
    provider whose scheme is to be preferred; ``handshake`` is how it checks the endpoint; ``answer_s`` is how long it
    waits for an answer, in seconds. ``chosen``: the operator makes the secret and enters it there, else the provider
    shows one of its own; ``event_place`` is where the event type stands in the payload (``event.type``,
    ``[].subscriptionType``), where no header has it; ``events`` are the types that it publishes, where it lists them
    all; ``methods`` are those of its deliveries.
    """

    slug: str
    docs: str
    scheme: Scheme | None = None
    token: TokenSpec | None = None
    event_header: bytes | None = None
    delivery_header: bytes | None = None
    refusal_status: int | None = None
    address_set: str | None = None
    note: str = ""
    handshake: Handshake | None = None
    answer_s: float = ANSWER_S
    better: str = ""
    chosen: bool = False
    event_place: str = ""
    events: frozenset[str] = frozenset()
    methods: tuple[str, ...] = ("POST",)
    title: str = ""

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.slug.replace("_", " ").title())

    @property
    def advice(self) -> str:
        """What an operator should know, and which scheme to prefer; "" where there is nothing to say."""
        return f"{self.note} Prefer {self.better}." if self.better else self.note


#: A provider whose secret the operator makes, a scheme whose signature is in base64, and a check that is signed.
chosen = partial(Provider, chosen=True)
in_base64 = partial(Scheme, encoding=Encoding.BASE64)
signed_check = partial(Handshake, b"POST", signed=True)

COPY_AGAIN = "copy it from the provider again"
_WHSEC = b"whsec_"
_VERSION = b"v1,"  # as Supabase shows it


def decode_secret(provider: Provider, raw: bytes) -> bytes:
    """The key for ``provider`` from the text of a secret (no newline at its end). Mistake where it is none."""
    if not raw:
        raise Mistake("the secret is empty", COPY_AGAIN)
    scheme = provider.scheme
    if scheme is None:
        return raw
    if not scheme.two_part:
        return _decode(scheme, provider.title, raw)
    key_id, colon, key = raw.partition(b":")
    if not colon or not key_id or not key:
        raise Mistake(f"{provider.title} needs both parts of the secret in one text, written first:second", COPY_AGAIN)
    return key_id + b":" + _decode(scheme, provider.title, key)


def _decode(scheme: Scheme, title: str, raw: bytes) -> bytes:
    if needs_public_keys(scheme):
        decoded: bytes = load_pubkey().decode_public_key(scheme.secret, scheme.method, raw)
        return decoded
    form = scheme.secret
    key: bytes | None = raw
    if form is SecretForm.HEX:
        key = decode_hex(raw)
    elif form is SecretForm.BASE64:
        key = decode_base64(raw)
    elif form is SecretForm.WHSEC or (form is SecretForm.WHSEC_OR_RAW and raw.startswith(_WHSEC)):
        key = decode_base64(raw.removeprefix(_VERSION).removeprefix(_WHSEC))
    if key is None:
        raise Mistake(f"the secret of {title} is not written in {_WORDS[form]}", COPY_AGAIN)
    if scheme.key_digest is not None:
        return hashlib.new(scheme.key_digest, key).digest()
    return key


_WORDS = {
    SecretForm.HEX: "hex (an even number of 0-9, a-f)",
    SecretForm.BASE64: "base64 (with its padding)",
    SecretForm.WHSEC: 'base64, with or without "whsec_" before it',
    SecretForm.WHSEC_OR_RAW: 'base64 after "whsec_"',
}


# -- The event types that providers publish, as their documents list them: what ``events`` of a route may name.
#
# Only of providers whose list is published as a whole; of the others nothing is said. What is missing here is warned
# of, never refused: a provider adds to its list whenever it likes.


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: https://docs.github.com/en/webhooks/webhook-events-and-payloads
GITHUB_EVENTS = _words(
    """
    branch_protection_configuration branch_protection_rule check_run check_suite code_scanning_alert commit_comment
    create custom_property custom_property_values delete dependabot_alert deploy_key deployment
    deployment_protection_rule deployment_review deployment_status discussion discussion_comment fork
    github_app_authorization gollum installation installation_repositories installation_target issue_comment
    issue_dependencies issues label marketplace_purchase member membership merge_group meta milestone org_block
    organization package page_build personal_access_token_request ping project project_card project_column projects_v2
    projects_v2_item projects_v2_status_update public pull_request pull_request_review pull_request_review_comment
    pull_request_review_thread push registry_package release repository repository_advisory repository_dispatch
    repository_import repository_ruleset repository_vulnerability_alert secret_scanning_alert
    secret_scanning_alert_location secret_scanning_scan security_advisory security_and_analysis sponsorship star status
    sub_issues team team_add watch workflow_dispatch workflow_job workflow_run
    """
)
#: https://docs.gitlab.com/user/project/integrations/webhook_events/
GITLAB_EVENTS = frozenset(
    f"{word.replace('_', ' ')} Hook"
    for word in _words(
        """
        Build Confidential_Issue Confidential_Note Deployment Emoji Feature_Flag Issue Job Member Merge_Request
        Milestone Note Pipeline Project Push Release Resource_Access_Token Service Subgroup System Tag_Push
        Vulnerability Wiki_Page
        """
    )
)
#: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/
BITBUCKET_EVENTS = _words(
    """
    repo:push repo:fork repo:updated repo:transfer repo:deleted repo:imported repo:commit_comment_created
    repo:commit_status_created repo:commit_status_updated issue:created issue:updated issue:comment_created
    project:updated pullrequest:created pullrequest:updated pullrequest:push pullrequest:changes_request_created
    pullrequest:changes_request_removed pullrequest:approved pullrequest:unapproved pullrequest:fulfilled
    pullrequest:rejected pullrequest:comment_created pullrequest:comment_updated pullrequest:comment_deleted
    pullrequest:comment_resolved pullrequest:comment_reopened
    """
)
#: https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html
BITBUCKET_DC_EVENTS = _words(
    """
    diagnostics:ping repo:refs_changed repo:modified repo:forked repo:comment:added repo:comment:edited
    repo:comment:deleted repo:secret_detected mirror:repo_synchronized pr:opened pr:from_ref_updated pr:modified
    pr:reviewer:updated pr:reviewer:approved pr:reviewer:unapproved pr:reviewer:needs_work pr:reviewer:changes_requested
    pr:merged pr:declined pr:deleted pr:comment:added pr:comment:edited pr:comment:deleted project:modified
    """
)
#: https://docs.gitea.com/usage/repository/webhooks, and the source of both
GITEA_EVENTS = _words(
    """
    create delete fork push issues issue_assign issue_label issue_milestone issue_comment pull_request
    pull_request_assign pull_request_label pull_request_milestone pull_request_comment pull_request_approved
    pull_request_rejected pull_request_review_approved pull_request_review_rejected pull_request_review_comment
    pull_request_sync pull_request_review_request wiki repository release package status workflow_run workflow_job
    action_run_failure action_run_recover action_run_success schedule
    """
)
#: https://docs.sentry.io/organization/integrations/integration-platform/webhooks/
SENTRY_EVENTS = _words("installation issue error comment event_alert metric_alert seer")
#: https://circleci.com/docs/outbound-webhooks/
CIRCLECI_EVENTS = _words("ping workflow-completed job-completed")
#: https://buildkite.com/docs/apis/webhooks
BUILDKITE_EVENTS = _words(
    """
    ping build.scheduled build.running build.failing build.finished build.skipped job.scheduled job.started job.finished
    job.activated agent.connected agent.lost agent.disconnected agent.stopping agent.stopped agent.blocked
    cluster_token.registration_blocked package.created
    """
)
#: https://docs.lemonsqueezy.com/help/webhooks/event-types
LEMONSQUEEZY_EVENTS = _words(
    """
    order_created order_refunded subscription_created subscription_updated subscription_cancelled subscription_resumed
    subscription_expired subscription_paused subscription_unpaused subscription_payment_failed
    subscription_payment_success subscription_payment_recovered subscription_payment_refunded subscription_plan_changed
    license_key_created license_key_updated affiliate_activated customer_updated
    """
)
#: https://docs.aws.amazon.com/sns/latest/dg/http-header.html
SNS_EVENTS = _words("SubscriptionConfirmation Notification UnsubscribeConfirmation")
