"""Conditions on payloads: globs in linear time, kinds of values apart, and no doubt that passes."""

from __future__ import annotations

import fnmatch
import json
import re
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.keys import read_where
from proxy.core.payload import Glob, PayloadRule, Pointer, Selection
from proxy.reasons import Reason
from tests.core.test_payload import head

FILTERED, UNDECIDED, REFUSED = Reason.FILTERED, Reason.PAYLOAD_UNDECIDED, Reason.EVENT_REFUSED
PUSH = {
    "action": "opened",
    "number": 12,
    "draft": False,
    "ratio": 0.5,
    "ref": "refs/heads/main",
    "repository": {"full_name": "org/app", "private": True},
    "labels": [{"name": "bug"}, {"name": "deploy"}],
    "nothing": None,
}


def judged(rule: PayloadRule, document: object) -> Selection:
    return rule.judge(head(), json.dumps(document).encode())


def rule(**where: Any) -> PayloadRule:
    return PayloadRule(read_where({name.replace("__", "."): wanted for name, wanted in where.items()}))


@pytest.mark.parametrize(
    "where",
    [
        {"action": "opened"},
        {"action": ["closed", "opened"]},
        {"action": "open*"},
        {"action": "*"},
        {"ref": "refs/heads/*"},
        {"ref": "*/main"},
        {"repository": {"full_name": "org/*", "private": True}},
        {"repository.full_name": "org/*", "action": "opened"},
        {"number": 12},
        {"number": [1, 12]},
        {"number": 12.0},
        {"draft": False},
        {"ratio": 0.5},
        {"labels[].name": "deploy"},
        {"labels[].name": ["x*", "dep*"]},
        {"action": "!closed"},
        {"action": ["*", "!closed"]},
        {"labels[].name": "!wip"},
    ],
    ids=str,
)
def test_what_holds(where: dict[str, Any]) -> None:
    assert judged(PayloadRule(read_where(where)), PUSH) == Selection()


@pytest.mark.parametrize(
    ("where", "detail"),
    [
        ({"action": "closed"}, "action"),
        ({"action": "Opened"}, "action"),
        ({"action": "open"}, "action"),
        ({"action": "opened", "repository.full_name": "other/*"}, "repository.full_name"),
        ({"missing": "*"}, "missing"),
        ({"missing": "!x"}, "missing"),
        ({"nothing": "*"}, "nothing"),
        ({"repository": "*"}, "repository"),
        ({"number": "12"}, "number"),
        ({"number": True}, "number"),
        ({"draft": 0}, "draft"),
        ({"draft": "false"}, "draft"),
        ({"labels[].name": "wip"}, "labels[].name"),
        ({"labels[].name": ["*", "!deploy"]}, "labels[].name"),
        ({"labels.name": "bug"}, "labels.name"),
        ({"action": "!open*"}, "action"),
        ({"action": ["!closed", "!opened"]}, "action"),
    ],
    ids=str,
)
def test_what_does_not(where: dict[str, Any], detail: str) -> None:
    assert judged(PayloadRule(read_where(where)), PUSH) == Selection(FILTERED, detail)


ALPHABET = st.text(st.sampled_from("ab*"), max_size=8)


@given(ALPHABET, st.text(st.sampled_from("ab"), max_size=10))
def test_a_glob_is_what_a_regular_expression_says(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert Glob.parse(pattern).fits(text) is expected
    assert fnmatch.fnmatchcase(text, pattern) is expected


@given(st.text(max_size=20))
def test_any_text_can_be_written(text: str) -> None:
    written = re.sub(r"([*!\\\\])", r"\\\1", text)
    assert Glob.parse(written).pieces == (text,)
    assert Glob.parse(written).fits(text)


@pytest.mark.parametrize("text", ["\\\\a"[1:], "a\\", "\\n"])
def test_a_backslash_before_another_sign_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="backslash"):
        Glob.parse(text)


def test_a_glob_takes_no_more_than_linear_time() -> None:
    """What a backtracking matcher would try in exponentially many ways."""
    glob = Glob.parse("*a" * 60 + "*b")
    small, large = "a" * 20_000, "a" * 200_000
    began = process_time()
    assert not glob.fits(small)
    first = process_time() - began
    began = process_time()
    assert not glob.fits(large)
    assert process_time() - began < 100 * first + 0.5


def test_doubt_is_refused_or_passed_as_the_route_says() -> None:
    bodies = [b"{", b'{"a": 1, "a": 2}', b"", None, json.dumps({"a": [1] * 1001}).encode()]
    details = ["unreadable", "unreadable", "unreadable", "hold_window", "too_many_values"]
    where = read_where({"a[]": 1})
    for body, detail in zip(bodies, details, strict=True):
        assert PayloadRule(where).judge(head(), body) == Selection(UNDECIDED, detail)
        assert PayloadRule(where, passes_undecided=True).judge(head(), body) == Selection()


def test_a_key_in_two_cases_is_in_doubt_where_it_is_looked_at() -> None:
    """Go's encoding/json takes either of them, and the last one wins."""
    opened = read_where({"action": "opened", "inner.environment": "staging"})
    good = {"action": "opened", "inner": {"environment": "staging", "Other": 1, "other": 2}}
    assert judged(PayloadRule(opened), good) == Selection()
    for bad in (good | {"Action": "closed"}, good | {"inner": {"environment": "staging", "Environment": "production"}}):
        assert judged(PayloadRule(opened), bad) == Selection(UNDECIDED, "unreadable")
        assert judged(PayloadRule(opened, passes_undecided=True), bad) == Selection()
    events = PayloadRule((), Pointer.parse("type"), frozenset({"paid"}))
    assert judged(events, {"type": "paid", "Type": "other"}).reason is REFUSED


class TestEvents:
    rule = PayloadRule(read_where({"a": 1}), Pointer.parse("type"), frozenset({"paid", "refunded"}))
    batch = PayloadRule((), Pointer.parse("[].type"), frozenset({"paid", "refunded"}))

    @pytest.mark.parametrize(
        ("document", "selection"),
        [
            ({"type": "paid", "a": 1}, Selection(event="paid")),
            ({"type": "paid", "a": 2}, Selection(FILTERED, "a", "paid")),
            ({"type": "other", "a": 1}, Selection(REFUSED, event="other")),
            ({"type": "Paid", "a": 1}, Selection(REFUSED, event="Paid")),
            ({"type": ["paid"], "a": 1}, Selection(REFUSED)),
            ({"type": None, "a": 1}, Selection(REFUSED)),
            ({"a": 1}, Selection(REFUSED)),
            ([], Selection(REFUSED)),
        ],
    )
    def test_one(self, document: object, selection: Selection) -> None:
        assert judged(self.rule, document) == selection

    @pytest.mark.parametrize(
        ("types", "reason"),
        [
            (["paid"], None),
            (["refunded", "paid"], None),
            (["paid", "other"], REFUSED),
            (["paid", None], REFUSED),
            (["paid", 1], REFUSED),
            ([], REFUSED),
        ],
    )
    def test_all_that_came_together_must_be_listed(self, types: list[object], reason: Reason | None) -> None:
        assert judged(self.batch, [{"type": each} for each in types]).reason is reason

    @pytest.mark.parametrize(
        "document",
        [[{"type": "paid"}, {}], [{"type": "paid"}, 1], [{"type": "paid"}] * 1001],
        ids=["missing", "no object", "too many"],
    )
    def test_an_element_without_an_event_is_one_that_is_not_listed(self, document: object) -> None:
        assert judged(self.batch, document).reason is REFUSED

    def test_on_each_level_of_a_place(self) -> None:
        deep = PayloadRule((), Pointer.parse("entry[].changes[].field"), frozenset({"feed"}))
        good = {"changes": [{"field": "feed"}, {"field": "feed"}]}
        assert judged(deep, {"entry": [good, good]}).reason is None
        others: list[dict[str, object]] = [{}, {"changes": []}, {"changes": [{}]}, {"messaging": [1]}]
        for other in [*others, {"changes": [{"field": "other"}]}]:
            assert judged(deep, {"entry": [good, other]}).reason is REFUSED

    def test_a_listed_event_of_which_where_cannot_be_decided(self) -> None:
        doubtful = {"type": "paid", "a": 1, "A": 2}
        assert judged(self.rule, doubtful) == Selection(UNDECIDED, "unreadable", "paid")

    def test_what_cannot_be_read_is_refused_whatever_where_says(self) -> None:
        lenient = PayloadRule((), Pointer.parse("type"), frozenset({"paid"}), passes_undecided=True)
        for body in (b"{", None):
            assert lenient.judge(head(), body).reason is REFUSED
        assert not lenient.may_pass

    def test_the_log_gets_a_name_that_it_can_write(self) -> None:
        told = PayloadRule((), Pointer.parse("type")).judge(head(), b'{"type": "a\\ud800' + b"x" * 999 + b'"}')
        assert told.event.startswith("a?x")
        assert len(told.event) == 128


VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.text(st.sampled_from("ab"), max_size=3)


@given(st.dictionaries(st.sampled_from(["a", "b"]), VALUES), st.sampled_from(["a", "b"]), VALUES)
def test_one_value_is_compared_as_json_compares(document: dict[str, object], place: str, wanted: object) -> None:
    if wanted is None:
        return
    found = document.get(place)
    same = type(found) is type(wanted) and found == wanted
    assert (judged(PayloadRule(read_where({place: wanted})), document).reason is None) is same


@given(st.binary(max_size=200))
def test_no_body_makes_it_raise(body: bytes) -> None:
    rules = PayloadRule(read_where({"a.b": "x*", "[].c": [1, "!y"]}), Pointer.parse("a[].t"), frozenset({"p"}))
    assert rules.judge(head(), body).reason is not None
