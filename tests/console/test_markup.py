"""What is given as text stays text, whatever it says; and numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console import markup
from proxy.console.markup import Markup, tag
from tests.console.reading import Reader

#: What an HTML parser gives back as it was: all but what it replaces by itself.
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"))


@given(TEXT, TEXT)
def test_no_text_becomes_an_element(text: str, value: str) -> None:
    read = Reader(tag("p", text, title=value))
    assert read.elements == [("p", {"title": value})]
    assert read.text == text


def test_children_of_all_kinds() -> None:
    made = tag(
        "p", "a<", None, 1, 2.5, (tag("b", one) for one in "xy"), [], class_="k", data_a="&", hidden=True, id=None
    )
    assert made == '<p class="k" data-a="&amp;" hidden>a&lt;12.5<b>x</b><b>y</b></p>'


def test_what_has_no_content_has_no_end() -> None:
    assert tag("input", name="q", value='"') == '<input name="q" value="&quot;">'


def test_only_markup_is_markup() -> None:
    assert tag("p", Markup("<b></b>")) == "<p><b></b></p>"
    assert tag("p", str(Markup("<b></b>")) + "") == "<p>&lt;b&gt;&lt;/b&gt;</p>"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (markup.clock(1_764_000_000.0785), "16:00:00.078"),
        (markup.day(1_764_000_000.0), "2025-11-24 16:00:00 UTC"),
        (markup.counted(1, "delivery", "deliveries"), "1 delivery"),
        (markup.counted(1200, "delivery", "deliveries"), "1,200 deliveries"),
    ],
)
def test_words(said: str, text: str) -> None:
    assert said == text
