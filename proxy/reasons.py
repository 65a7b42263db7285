"""Every way an exchange can end: the one table that log, metrics, answers and docs are made from.

A reason is a word that operators script against, the status that the client sees (``None`` where nothing can be
answered) and the end that caused it, as HAProxy's log says which side ended a session. This module never knows how an
answer is written or when: that is ``http1`` and the shell.
"""

from __future__ import annotations

from enum import Enum

from proxy.values import IdentityEnum


class Ended(Enum):
    """What ended the exchange."""

    SENDER = "sender"
    UPSTREAM = "upstream"
    US = "us"


class Phase(IdentityEnum):
    """How far the exchange had come when it ended (HAProxy: second letter of the termination state)."""

    HEAD = "head"
    BODY = "body"
    CONNECT = "connect"
    ANSWER_HEAD = "answer_head"
    ANSWER_BODY = "answer_body"
    DONE = "done"


class Reason(IdentityEnum):
    """Why an exchange ended. Members know their ``word``, ``status`` and ``ended_by``."""

    # (word, status, ended by)
    DELIVERED = ("delivered", None, Ended.UPSTREAM)

    ADDRESS_REFUSED = ("address_refused", 403, Ended.US)
    CLIENT_CERTIFICATE_REFUSED = ("client_certificate_refused", 403, Ended.US)
    TOKEN_MISSING = ("token_missing", 403, Ended.US)
    TOKEN_MISMATCH = ("token_mismatch", 403, Ended.US)
    SIGNATURE_MISSING = ("signature_missing", 403, Ended.US)
    SIGNATURE_MALFORMED = ("signature_malformed", 403, Ended.US)
    SIGNATURE_MISMATCH = ("signature_mismatch", 403, Ended.US)
    TIMESTAMP_MISSING = ("timestamp_missing", 403, Ended.US)
    TIMESTAMP_TOO_OLD = ("timestamp_too_old", 403, Ended.US)
    TIMESTAMP_IN_FUTURE = ("timestamp_in_future", 403, Ended.US)
    EVENT_REFUSED = ("event_refused", 403, Ended.US)
    BASIC_AUTH_FAILED = ("basic_auth_failed", 401, Ended.US)

    PATH_NOT_MATCHED = ("path_not_matched", 404, Ended.US)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, Ended.US)

    BAD_REQUEST = ("bad_request", 400, Ended.SENDER)
    BODY_TOO_LARGE = ("body_too_large", 413, Ended.US)
    CONTENT_TYPE_REFUSED = ("content_type_refused", 415, Ended.US)
    TARGET_TOO_LONG = ("target_too_long", 414, Ended.US)
    HEAD_TOO_LARGE = ("head_too_large", 431, Ended.US)
    LENGTH_REQUIRED = ("length_required", 411, Ended.US)
    EXPECTATION_FAILED = ("expectation_failed", 417, Ended.US)
    CODING_UNSUPPORTED = ("coding_unsupported", 501, Ended.SENDER)
    VERSION_UNSUPPORTED = ("version_unsupported", 505, Ended.SENDER)
    HEAD_TIMEOUT = ("head_timeout", 408, Ended.SENDER)
    BODY_TIMEOUT = ("body_timeout", 408, Ended.SENDER)
    SENDER_GONE = ("sender_gone", None, Ended.SENDER)
    WRITE_TIMEOUT = ("write_timeout", None, Ended.SENDER)

    RATE_LIMITED = ("rate_limited", 429, Ended.US)
    OVERLOADED = ("overloaded", 503, Ended.US)
    DUPLICATE_DELIVERED = ("duplicate_delivered", None, Ended.US)
    DUPLICATE_IN_FLIGHT = ("duplicate_in_flight", 409, Ended.US)
    FILTERED = ("filtered", 200, Ended.US)
    PAYLOAD_UNDECIDED = ("payload_undecided", 422, Ended.US)
    HANDSHAKE_ANSWERED = ("handshake_answered", None, Ended.US)
    ACCEPTED = ("accepted", 202, Ended.US)
    QUEUE_FULL = ("queue_full", 503, Ended.US)
    QUEUE_FAILED = ("queue_failed", 503, Ended.US)

    UPSTREAM_UNREACHABLE = ("upstream_unreachable", 502, Ended.UPSTREAM)
    AGENT_AWAY = ("agent_away", 503, Ended.UPSTREAM)
    UPSTREAM_RESET = ("upstream_reset", 502, Ended.UPSTREAM)
    UPSTREAM_INVALID = ("upstream_invalid", 502, Ended.UPSTREAM)
    UPSTREAM_TIMEOUT = ("upstream_timeout", 504, Ended.UPSTREAM)

    DRAINED = ("drained", None, Ended.US)
    INTERNAL_ERROR = ("internal_error", 500, Ended.US)

    word: str
    status: int | None
    ended_by: Ended

    def __init__(self, word: str, status: int | None, ended_by: Ended) -> None:
        self.word = word
        self.status = status
        self.ended_by = ended_by

    def __repr__(self) -> str:
        return f"Reason.{self.name}"


#: Ends that are neither a refusal nor a failure.
GOOD = frozenset({Reason.DELIVERED, Reason.FILTERED, Reason.HANDSHAKE_ANSWERED, Reason.ACCEPTED})

#: What ``mode = "observe"`` lets pass and counts: proofs that fail. Addresses, limits and grammar are always enforced.
OBSERVABLE = frozenset(
    {
        Reason.CLIENT_CERTIFICATE_REFUSED,
        Reason.TOKEN_MISSING,
        Reason.TOKEN_MISMATCH,
        Reason.SIGNATURE_MISSING,
        Reason.SIGNATURE_MALFORMED,
        Reason.SIGNATURE_MISMATCH,
        Reason.TIMESTAMP_MISSING,
        Reason.TIMESTAMP_TOO_OLD,
        Reason.TIMESTAMP_IN_FUTURE,
        Reason.EVENT_REFUSED,
        Reason.BASIC_AUTH_FAILED,
    }
)
