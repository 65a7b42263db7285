"""The data of endpoint checks: consistent, and told in a few words."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.core.schemes.provider import KEYED, PLAIN, SENTENCE, UUID, Form, Made

WITH = {slug: provider for slug, provider in PROVIDERS.items() if provider.handshake is not None}


@pytest.mark.parametrize("slug", WITH)
def test_every_check_is_consistent(slug: str) -> None:
    check = WITH[slug].handshake
    assert check is not None
    assert check.method in {b"GET", b"HEAD", b"POST"}
    assert all(name == name.lower() for name in check.header_names)
    assert sum(map(bool, (check.query, check.header, check.field))) <= 1, "one challenge"
    assert bool(check.reason) is (check.form is Form.NONE)
    if check.signed:
        assert check.method == b"POST"
        assert not any((check.query, check.header, check.fixed, check.verify))
        assert WITH[slug].scheme is not None, "answered after the signature alone"
    else:
        assert not any((check.field, check.marks, check.marked_by))
    if check.form is Form.TEXT:
        assert check.values == (("", Made.CHALLENGE),)
    elif check.form is Form.EMPTY:
        assert check.values == ()
    if check.needs_secret:
        scheme = WITH[slug].scheme
        assert scheme is not None
        assert scheme.opening == b"{", "the key of bodies signs challenges too"
        assert not any(check.shape.fullmatch(before + scheme.opening.decode()) for before in ("", "a", "a" * 35))


def test_what_is_needed() -> None:
    def who(need: str) -> set[str]:
        return {slug for slug, provider in WITH.items() if getattr(provider.handshake, need)}

    assert who("needs_token") == {"facebook_graph_api", "facebook_messenger", "instagram", "whatsapp", "ebay"}
    assert who("needs_url") == {"ebay"}
    assert who("needs_secret") == {"twitter", "linkedin", "zoom"}
    assert {slug for slug, p in WITH.items() if p.handshake and p.handshake.form is Form.NONE} == {"asana", "sns"}
    assert who("bare_refusals") == {"xero"}


@pytest.mark.parametrize(
    ("slug", "request_", "answer"),
    [
        ("slack", "signed POST type=url_verification challenge=", "the challenge"),
        ("whatsapp", "GET ?hub.mode=subscribe&hub.verify_token=&hub.challenge=", "the challenge"),
        ("discord", "signed POST type=1", "JSON type=1"),
        ("twitch", "signed POST twitch-eventsub-message-type: webhook_callback_verification challenge=",
         "the challenge"),
        ("trello", "HEAD", "empty"),
        ("asana", "POST x-hook-secret:", ""),
        ("linkedin", "GET ?challengeCode=", "JSON challengeCode, challengeResponse"),
    ],
)  # fmt: skip
def test_in_a_few_words(slug: str, request_: str, answer: str) -> None:
    check = WITH[slug].handshake
    assert check is not None
    assert (check.request, check.answer) == (request_, answer)


@pytest.mark.parametrize("shape", [PLAIN, KEYED, SENTENCE, UUID])
def test_no_alphabet_has_markup_or_line_ends(shape) -> None:
    assert not any(shape.fullmatch("a" + mark + "a") for mark in "<>&\"'\\{}[]\r\n\t;\0\x7f\u00e9")
    assert not shape.fullmatch("a\n")
    assert not shape.fullmatch("")


def table() -> list[str]:
    """The table of the documents, as the catalogue has it."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for slug, provider in WITH.items():
        check = provider.handshake
        assert check is not None
        needs = {"`verify_token`": check.needs_token, "`public_url`": check.needs_url}
        needed = ", ".join(name for name, needed in needs.items() if needed) or "-"
        answer = check.answer or f"the application alone: {check.reason}"
        rows.setdefault((f"`{check.request}`", answer, needed), []).append(f"`{slug}`")
    return [f"| {', '.join(slugs)} | {' | '.join(row)} |" for row, slugs in rows.items()]


def test_the_page_has_the_catalogues_table() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "handshakes.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5] == table()
