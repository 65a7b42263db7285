"""Bodies: each supposition fits its own faults; hostile bodies cost little and raise nothing."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.causes import of_body
from proxy.core.causes.trial import Trial
from tests.faults import BODIES, CAUSES, KEY, Fault, github, refused, route

SUPPOSITIONS = {
    word: CAUSES[word]
    for word in (
        "body_line_end",
        "body_line_ends",
        "body_reencoded",
        "body_compressed",
        "body_form_field",
        "body_charset",
        "body_base64",
        "body_left_out",
        "body_empty",
        "body_not_held",
    )
}


@pytest.mark.parametrize("fault", BODIES, ids=lambda fault: fault.what)
def test_the_supposition_of_the_fault_fits_first(fault: Fault):
    fitting = [word for word, find in SUPPOSITIONS.items() if find(Trial(fault.case)) is not None]
    assert fitting[0] == fault.word


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\x1f\x8b\x08\x00",
        b"&".join([b"a=b"] * 5000),
        b"\xff\xfe",
        b"1" * 5000,
        b'"\\ud800"',
    ],
    ids=lambda body: repr(body[:8]),
)
def test_a_hostile_body_raises_nothing(body: bytes):
    trial = Trial(refused(route(), github(b"wrong"), body))
    for find in SUPPOSITIONS.values():
        assert find(trial) is None


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(TREES, st.sampled_from(["  ", "    ", "\t"]))
def test_indented_as_the_library_does(tree: object, indent: str):
    assert of_body.Indented(indent).text(tree) == json.dumps(tree, indent=indent, ensure_ascii=False)


def test_what_is_indented_is_bounded():
    """240 KB, whose lines are indented by 3,600 blanks each: 430 MB for whoever writes them all, before any proof."""
    deep = b"[" * 900 + b",".join([b"1"] * 120_000) + b"]" * 900
    with pytest.raises(ValueError, match="too long"):
        of_body.Indented("    ").text(json.loads(deep))
    assert CAUSES["body_reencoded"](Trial(refused(route(), github(b"wrong"), deep))) is None


def test_what_is_decompressed_is_bounded():
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    trial = Trial(refused(route(), github(KEY, b"\0" * 50_000_000), bomb))
    assert CAUSES["body_compressed"](trial) is None
