"""The rows: words and sentences of one form, and every group reached by a fault."""

from __future__ import annotations

import pytest

from proxy.core.causes import refusals
from proxy.core.causes.trial import Hypothesis
from proxy.core.diagnosis import HYPOTHESES
from tests.faults import FAULTS

ROWS = [one for name in dir(refusals) if name.isupper() and not name.startswith("_") for one in getattr(refusals, name)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.word)
def test_a_row_is_tried_and_shown_by_a_fault(row: Hypothesis):
    assert row in HYPOTHESES
    assert any(fault.word == row.word and fault.case.reason in row.reasons for fault in FAULTS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.word)
def test_sentences_are_short_and_whole(row: Hypothesis):
    for text in (row.said, row.mend):
        assert text[0].isupper()
        assert text.endswith(".")
        assert 10 < len(text) < 220
