"""The table of endings: what is promised as status, and what may be observed."""

from __future__ import annotations

import pytest

from proxy.reasons import OBSERVABLE, Ended, Phase, Reason

FORBIDDEN = [
    "address_refused",
    "token_missing",
    "token_mismatch",
    "signature_missing",
    "signature_malformed",
    "signature_mismatch",
    "timestamp_missing",
    "timestamp_too_old",
    "timestamp_in_future",
    "event_refused",
]
PROMISED = dict.fromkeys(FORBIDDEN, 403) | {
    "basic_auth_failed": 401,
    "path_not_matched": 404,
    "bad_request": 400,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "head_timeout": 408,
    "body_timeout": 408,
    "length_required": 411,
    "content_type_refused": 415,
    "head_too_large": 431,
    "expectation_failed": 417,
    "rate_limited": 429,
    "overloaded": 503,
    "upstream_unreachable": 502,
    "upstream_reset": 502,
    "upstream_invalid": 502,
    "upstream_timeout": 504,
}


@pytest.mark.parametrize(("word", "status"), PROMISED.items())
def test_the_promised_status(word: str, status: int) -> None:
    [reason] = [reason for reason in Reason if reason.word == word]
    assert reason.status == status


def test_only_proofs_can_be_observed() -> None:
    proofs = {word for word in FORBIDDEN if word != "address_refused"}
    assert {reason.word for reason in OBSERVABLE} == {*proofs, "client_certificate_refused", "basic_auth_failed"}
    assert all(reason.ended_by is Ended.US for reason in OBSERVABLE)


def test_words_are_fit_for_labels_and_answers() -> None:
    words = [one.word for one in Reason] + [one.value for one in Phase] + [one.value for one in Ended]
    assert all(word.replace("_", "").isalpha() and word.islower() and word.isascii() for word in words)


def test_repr_is_the_name() -> None:
    assert repr(Reason.DELIVERED) == "Reason.DELIVERED"
