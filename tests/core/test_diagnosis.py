"""Why a delivery was refused: every seeded fault has its word, and nothing confidential is ever said."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.causes import DIAGNOSABLE, HYPOTHESES, Case, Hypothesis, diagnose
from proxy.core.causes.trial import MAX_BODY_BYTES
from proxy.core.schemes import PROVIDERS
from proxy.reasons import Reason
from tests.deliveries import NOW, check_for, head_of, make
from tests.examples import examples
from tests.faults import CONFIDENTIAL, FAULTS, JSON, KEY, Fault, github, refused, route

SIGNING = [slug for slug, provider in PROVIDERS.items() if provider.scheme is not None]
PAGE = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_every_seeded_fault_has_its_word(fault: Fault):
    found = diagnose(fault.case)
    assert found is not None
    assert (found.word, found.sentence) == (fault.word, found.sentence)
    for name in fault.names:
        assert name in found.sentence
    assert "\n" not in found.sentence
    assert "{secret}" not in found.sentence
    said = found.sentence.encode()
    assert not any(secret in said for secret in CONFIDENTIAL)
    assert not re.search(r"[0-9a-f]{16}", found.sentence), "as long as a piece of a MAC"


def test_every_cause_has_a_fault_that_shows_it():
    assert {one.word for one in HYPOTHESES} == {fault.word for fault in FAULTS}


def test_words_are_unique_and_sentences_end():
    words = [one.word for one in HYPOTHESES]
    assert len(set(words)) == len(words)
    for one in HYPOTHESES:
        assert re.fullmatch(r"[a-z0-9_]+", one.word)
        assert one.said.endswith(".")
        assert one.mend.endswith(".")
        assert one.reasons <= DIAGNOSABLE


@pytest.mark.parametrize("one", HYPOTHESES, ids=lambda one: one.word)
def test_a_cause_is_shown_by_a_fault_and_said_shortly(one: Hypothesis):
    assert any(fault.word == one.word and fault.case.reason in one.reasons for fault in FAULTS)
    for text in (one.said, one.mend):
        assert text[0].isupper()
        assert 10 < len(text) < 220


def test_what_nothing_proves_comes_last():
    assert [one.guess for one in HYPOTHESES] == sorted(one.guess for one in HYPOTHESES)


def test_the_page_lists_every_cause():
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    shown = [(one.word, _on_the_page(one.said), _on_the_page(one.mend)) for one in HYPOTHESES]
    assert rows == shown


def _on_the_page(text: str) -> str:
    """Places for facts are shown as NAME."""
    return re.sub(r"\{([a-z0-9_]+)\}", lambda match: match[1].upper(), text)


def test_other_reasons_have_no_cause_to_look_for():
    case = replace(FAULTS[0].case, reason=Reason.PATH_NOT_MATCHED)
    assert diagnose(case) is None


def test_a_case_shows_neither_body_nor_head():
    for fault in FAULTS:
        shown = repr(fault.case).encode()
        assert b"refs/heads" not in shown
        assert not any(value in shown for value in fault.case.head.values.values() if len(value) > 12)


def test_the_work_is_bounded():
    """The worst that a sender can ask for: a body at the bound that nothing fits, many secrets, many routes."""
    body = json.dumps({"n": ["x" * 90 + "é"] * 2500}).encode()[:MAX_BODY_BYTES]
    others = tuple(route("github", *(b"other %d %d" % (at, n) for n in range(3)), name=f"r{at}") for at in range(40))
    case = refused(route(), github(b"something else", body), body, others=others)
    began = time.process_time()
    found = diagnose(case)
    assert found is not None
    assert found.word == "unknown"
    assert time.process_time() - began < 2


JUNK = st.one_of(
    st.binary(max_size=60).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"")),
    st.sampled_from(
        [b"sha1=" + b"0" * 40, b"t=1,v1=aa", b"v1,AA==", b"a.b.c", b"1764000000", b"[", b"http://[", b"/%ff%"]
    ),
)
NAMES = st.sampled_from(
    ["X-Forwarded-Host", "X-Forwarded-Prefix", "X-Original-URI", "Authorization", "User-Agent", "Content-Encoding"]
)


@pytest.mark.parametrize("slug", SIGNING)
@examples(4)
@given(data=st.data())
def test_nothing_that_a_sender_writes_raises(slug: str, data: st.DataObject):
    delivery = make(slug)
    fields = [
        (name, data.draw(st.one_of(st.just(value), JUNK)))
        for name, value in delivery.fields
        for _ in range(data.draw(st.integers(0, 2)))
    ]
    fields += data.draw(st.lists(st.tuples(NAMES, JUNK), max_size=3))
    body = data.draw(
        st.one_of(
            st.none(),
            st.binary(max_size=80),
            st.sampled_from([delivery.body, b"[" * 9000, b"\x1f\x8b", b"payload=%7b"]),
        )
    )
    target = data.draw(st.sampled_from([delivery.target, b"/", b"/?a=%zz&&token=", b"/%ff?x=[", b"*"]))
    guard = replace(route(), signature=check_for(PROVIDERS[slug], delivery.secret), provider=slug)
    reason = data.draw(st.sampled_from(sorted(DIAGNOSABLE, key=lambda one: one.word)))
    head = head_of(replace(delivery, fields=fields, target=target))
    found = diagnose(Case(reason, head, body, guard, (guard,), data.draw(st.sampled_from([0.0, float(NOW), 1e11]))))
    assert found is not None
    assert delivery.secret.decode() not in found.sentence


def test_the_secret_that_fits_is_named_and_no_other():
    found = diagnose(refused(route("github", b"another one", KEY + b" "), github(KEY), JSON))
    assert found is not None
    assert "main-1" in found.sentence
