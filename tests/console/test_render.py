"""Each page of values in which every text is hostile: all of it is read as text, and nothing of it is an element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console import markup
from proxy.console.markup import Markup
from proxy.console.pages import delivery_page
from tests.console.hostile import PAYLOADS
from tests.console.reading import harmless

NOW = 1_795_957_990.0


def summary(text: str) -> dict[str, Any]:
    words = ("request_id", "route", "provider", "event", "delivery_id", "reason", "detail", "method", "path", "host")
    more = ("agent", "client", "peer", "secret", "upstream", "user_agent", "verdict")
    numbers = {"time": NOW, "status": 403, "size": 7, "duration_s": 0.1, "upstream_duration_s": 0.05}
    return {**dict.fromkeys((*words, *more), text), **numbers, "id": "1-2-3", "observed": None, "replay_of": text}


def content(text: str) -> dict[str, Any]:
    return {"size": 9, "kept": 9, "cut": False, "encoding": "utf-8", "form": "text", "text": text}


def a_list(text: str) -> Markup:
    counts = dict.fromkeys(("kept", "seen", "skipped", "dropped_for_age", "dropped_for_address"), 1)
    found = {"deliveries": [summary(text)], "next": text, "counts": counts}
    return markup.deliveries_page(found, text, text, may_act=True)


def a_delivery(text: str) -> Markup:
    request = {"method": text, "target": text, "version": "HTTP/1.1", "fields": [[text, text]], "body": content(text)}
    answer = {"by": "application", "status": 200, "phrase": text, "fields": [[text, text]], "body": content(text)}
    found = {
        **summary(text),
        "sentence": text,
        "checks": [{"name": text, "passed": False, "said": text}],
        "agrees": False,
        "cause": {"word": text, "sentence": text},
        "patience_s": 10.0,
        "whole": True,
        "phase": text,
        "ended_by": text,
        "request": request,
        "answer": answer,
        "replays": [summary(text)],
    }
    return delivery_page(found, may_act=True)


def a_queue(text: str) -> Markup:
    words = ("id", "route", "event", "condition", "accepted")
    attempt = {"at": text, "status": 500, "reason": text, "detail": text, "seconds": 1.0}
    record = {**dict.fromkeys(words, text), "attempts": [attempt], "attempts_made": 1}
    lane = {"route": text, "waiting": 1, "dead": 1, "oldest_s": 3.0, "bytes": 12, "paused": True}
    found = {"configured": True, "records": [record], "next": text, "routes": [lane]}
    return markup.queue_page(found, text, may_act=True)


def some_routes(text: str) -> Markup:
    figures = {"requests": 2, "refused": 1, "reasons": {text: 1}, "p50_s": 0.1, "p99_s": None}
    hour = {"hour": figures, "points": [{"time": NOW, **figures}]}
    upstream = {"url": text, "well": False}
    route = {"name": text, "path": text, "exact": False, "methods": [text], "provider": text, "upstream": [upstream]}
    found = {"routes": [{**route, "pausable": True, "paused": True, **hour}], "others": {text: hour}}
    return markup.routes_page(found, NOW, may_act=True)


def a_state(text: str) -> Markup:
    secret = {"name": text, "not_before": None, "not_after": NOW - 1, "uses": 3.0, "last_used": NOW}
    certificate = {"file": text, "state": text, "names": [text], "not_before": 0.0, "not_after": NOW}
    found = {
        "version": text,
        "python": text,
        "generation": 1,
        "not_ready": [text],
        "workers": {text: 1.0},
        "configuration": {"path": text, "listen": [text], "warnings": [text]},
        "routes": [{"name": text, "secrets": [secret], "token": {"secrets": [{**secret, "not_before": NOW + 9}]}}],
        "certificates": [certificate],
        "address_sets": [{"name": text, "prefixes": 1.0, "age_s": None}],
        "console": {"kept": 1, "bytes": 1, "seen": 1},
        "visitor": {"name": text},
    }
    return markup.state_page(found, NOW, may_act=True)


PAGES = [a_list, a_delivery, a_queue, some_routes, a_state]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("payload", PAYLOADS[:25])
def test_hostile_text_is_read_as_it_was_written(page: Callable[[str], Markup], payload: str) -> None:
    plain, hostile = harmless(page("plain")), harmless(page(payload))
    assert hostile.names == plain.names
    assert payload.replace("_", " ") in hostile.text.replace("_", " ")


@pytest.mark.parametrize("page", PAGES)
@given(text=st.text(st.characters(blacklist_categories=["Cs"])))
def test_no_text_changes_what_a_page_is_made_of(page: Callable[[str], Markup], text: str) -> None:
    found = harmless(page(f"a{text}"))
    assert found.names == harmless(page("a")).names
