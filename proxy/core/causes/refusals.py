"""The causes of a proof that is missing, malformed or not fresh, and of tokens: mostly seen in the head alone.

Data, as in ``mismatches``.
"""

from __future__ import annotations

from proxy.core.causes import of_body, of_sender, of_signature, of_time, of_token
from proxy.core.causes.trial import Hypothesis
from proxy.reasons import Reason

_MALFORMED = frozenset({Reason.SIGNATURE_MALFORMED})
_MISSING = frozenset({Reason.SIGNATURE_MISSING})
_NO_TIME = frozenset({Reason.TIMESTAMP_MISSING})
_OLD = frozenset({Reason.TIMESTAMP_TOO_OLD})
_AHEAD = frozenset({Reason.TIMESTAMP_IN_FUTURE})
_NO_TOKEN = frozenset({Reason.TOKEN_MISSING, Reason.BASIC_AUTH_FAILED})
_TOKEN = frozenset({Reason.TOKEN_MISMATCH, Reason.BASIC_AUTH_FAILED})
_ANY_TOKEN = _NO_TOKEN | _TOKEN

OF_FORMS: tuple[Hypothesis, ...] = (
    Hypothesis(
        "header_repeated",
        "The header {header} came more than once.",
        "It must come once: look for a proxy in front that adds it again.",
        _MALFORMED,
        of_signature.repeated,
    ),
    Hypothesis(
        "header_joined",
        "The header {header} holds several values that were joined with a comma.",
        "It must come once: look for a proxy in front, or a script, that sends it twice.",
        _MALFORMED,
        of_signature.joined,
    ),
    Hypothesis(
        "header_constant",
        "The header {header} must say {wanted}.",
        "Another version of the scheme was sent: choose the other provider name, see `hookward providers`.",
        _MALFORMED | _MISSING,
        of_signature.wrong_constant,
    ),
    Hypothesis(
        "sha1_value",
        "The header {header} holds a SHA-1 digest, and the scheme wants {algorithm}.",
        "Compute the signature with the digest of the scheme; if the sender knows SHA-1 alone, such as for github, "
        'use provider = "github_sha1".',
        _MALFORMED,
        of_signature.sha1_value,
    ),
    Hypothesis(
        "digest_other",
        "The header {header} holds a value as long as {other}, and the scheme wants {algorithm}.",
        "Compute the signature with the digest of the scheme.",
        _MALFORMED,
        of_signature.other_digest,
    ),
    Hypothesis(
        "signature_encoding",
        "The signature in {header} is written in {other}, and the scheme wants {encoding}.",
        "Write it as the scheme says; for a sender of your own, set `encoding` in [scheme.NAME].",
        _MALFORMED,
        of_signature.other_encoding,
    ),
    Hypothesis(
        "signature_prefix",
        "Before the signature in {header} must stand {wanted}.",
        "Write the value as the scheme says; for a sender of your own, set `prefix` in [scheme.NAME].",
        _MALFORMED,
        of_signature.other_prefix,
    ),
    Hypothesis(
        "signature_no_list",
        "The header {header} holds a bare signature, and the scheme wants a list such as t=...,v1=....",
        "Write the value as the scheme says, or name the provider that sends so.",
        _MALFORMED,
        of_signature.bare_value,
    ),
    Hypothesis(
        "timestamp_unit",
        "The header {header} holds {came}, and {wanted} are signed.",
        "Write the time in the unit of the scheme, both in the header and in the signed text.",
        _MALFORMED | _OLD | _AHEAD,
        of_time.unit,
    ),
    Hypothesis(
        "body_no_delivery",
        "The signature with {secret} is right, and the body is none that {title} delivers: it is no object of JSON.",
        "The same key signs other texts, such as challenges and logins, so only objects are taken; send one.",
        _MALFORMED,
        of_body.other_opening,
    ),
)

OF_SENDERS: tuple[Hypothesis, ...] = (
    Hypothesis(
        "sha1_header",
        "Only the older header {old} came, with SHA-1, and {header} did not.",
        'The sender is old, or a proxy in front dropped the header; provider = "github_sha1" takes the older one.',
        _MISSING,
        of_signature.old_header,
    ),
    Hypothesis(
        "header_missing",
        "The signature is there, and {header}, which is signed with it, is not.",
        "A proxy in front drops the header, or the sender forgets it: it must arrive as it was sent.",
        _MISSING | _NO_TIME,
        of_signature.part_missing,
    ),
    Hypothesis(
        "other_provider",
        "The request has the headers of {others}, and none of {title}.",
        'Write provider = "{slug}" in this route, or correct the path at the sender.',
        _MISSING | _MALFORMED | _NO_TIME | _NO_TOKEN,
        of_sender.other_provider,
    ),
)

OF_TIMES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "timestamp_old",
        "It was signed {seconds} s ago: at {theirs} by the sender's clock, and it is {ours} here; the window is "
        "{window}.",
        "If every delivery is late, set this host's clock (NTP), then the sender's; a single one is a retry or a "
        "replay, and `tolerance` widens the window.",
        _OLD,
        of_time.too_old,
    ),
    Hypothesis(
        "timestamp_ahead",
        "It was signed {seconds} s from now: at {theirs} by the sender's clock, and it is {ours} here; the window is "
        "{window}.",
        "One of the two clocks is wrong: set this host's first (NTP).",
        _AHEAD,
        of_time.ahead,
    ),
)

OF_TOKENS: tuple[Hypothesis, ...] = (
    Hypothesis(
        "token_out_of_dates",
        "The token {secret} came, and its {when}.",
        "Mend its dates, or set the current token at the sender.",
        _TOKEN,
        of_token.out_of_dates,
    ),
    Hypothesis(
        "token_badly_copied",
        "The token {secret} came with something around it: a blank, quotation marks, an escape, or a word before it.",
        "Write both from the same copy, without anything around it, and reload.",
        _TOKEN,
        of_token.badly_copied,
    ),
    Hypothesis(
        "token_of_another_route",
        "The token {secret} of the route {other} came.",
        "Two tokens are mixed up: name the right file in each route, or correct the path at the sender.",
        _TOKEN,
        of_token.of_another_route,
    ),
    Hypothesis(
        "token_in_another_place",
        "The token {secret} came in {place}, where this route does not look.",
        "Put it where `token` says, or change `token` to where it comes.",
        _ANY_TOKEN,
        of_token.in_another_place,
    ),
)

GUESSES: tuple[Hypothesis, ...] = (
    Hypothesis(
        "unsigned",
        "The request comes from {title} and is not signed.",
        "Set the secret at the provider: without one, it sends no proof.",
        _MISSING | _NO_TOKEN,
        of_sender.unsigned,
    ),
    Hypothesis(
        "token_absent",
        "There is nothing in {place}.",
        "Set the token there at the sender, and let nothing in front drop it; a sender that waits for a challenge "
        "tries again by itself.",
        _NO_TOKEN,
        of_token.absent,
    ),
    Hypothesis(
        "by_hand",
        "Nothing in the request is as {title} sends it.",
        "Somebody tries it by hand, or scans: `hookward send` makes a signed delivery.",
        _MISSING,
        of_sender.by_hand,
    ),
)
