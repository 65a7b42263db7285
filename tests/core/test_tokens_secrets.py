"""A secret has dates, and never shows its value."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.core.signing.scheme import Secret

VALUE = b"correct horse battery staple"


@pytest.mark.parametrize(
    ("not_before", "not_after", "now", "live"),
    [
        (None, None, 0.0, True),
        (None, None, 4e9, True),
        (100.0, None, 99.9, False),
        (100.0, None, 100.0, True),
        (None, 200.0, 199.9, True),
        (None, 200.0, 200.0, False),
        (100.0, 200.0, 150.0, True),
        (100.0, 200.0, 50.0, False),
        (100.0, 200.0, 250.0, False),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_a_secret_counts_from_its_first_second_until_its_last(not_before, not_after, now, live):
    assert Secret("a", VALUE, not_before, not_after).live(now) is live


def test_an_empty_secret_is_an_error():
    with pytest.raises(ValueError, match="not empty"):
        Secret("a", b"")


@pytest.mark.parametrize(
    "show", [repr, str, "{0}".format, "{0!r:>10}".format, lambda secret: repr([secret, {"a": secret}])]
)
def test_the_value_is_never_shown(show):
    shown = show(Secret("2026-q4", VALUE))
    assert "2026-q4" in shown
    assert "horse" not in shown


def test_a_secret_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Secret("a", VALUE).value = b"other"
