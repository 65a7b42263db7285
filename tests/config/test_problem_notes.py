"""Warnings with the id of their rule."""

from __future__ import annotations

from proxy.config.problems import Note, audible, rule_of


def test_a_note_is_a_text_with_a_rule():
    note = Note("H101", "other users may read it")
    assert note == "other users may read it"
    assert (rule_of(note), rule_of("plain")) == ("H101", "")
    placed = note.at("hookward.toml:3")
    assert placed == "hookward.toml:3: other users may read it"
    assert rule_of(placed) == "H101"


def test_what_is_silenced_is_not_heard_and_the_rest_once():
    notes = [Note("H101", "a"), "plain", Note("H102", "b"), "plain"]
    assert audible(notes, ["H101"]) == ("plain", "b")
    assert audible(notes, []) == ("a", "plain", "b")
