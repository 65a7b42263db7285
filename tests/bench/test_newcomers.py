"""The trial of newcomers counts what they type, and forgives nothing; who they are needs root and is run by hand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.newcomers import personas
from bench.newcomers.__main__ import row
from bench.newcomers.machine import Done, Machine, Service, cannot_make
from bench.newcomers.personas import PERSONAS
from bench.newcomers.trial import GaveUpError, Trial


class Paper(Machine):
    """A machine on which a command fails that has the word "fail" in it."""

    def __init__(self) -> None:
        self.online: list[bool] = []

    def run(self, script: str, *, online: bool = False, timeout_s: float = 0.0) -> Done:
        self.online.append(online)
        return Done(int("fail" in script), "the last words\nof it")

    def start(self, script: str) -> Service:
        raise NotImplementedError

    def write(self, path: str, text: str) -> None:
        pass


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def trial(paper: Paper) -> Trial:
    return Trial("one", paper)


def test_lines_are_commands_and_what_is_continued_is_one(trial: Trial, paper: Paper) -> None:
    trial.has("not counted")
    trial.does("one")
    trial.does("one \\\n  --flag\ntwo |\n wc\n\nthree", online=True)
    trial.writes("file", "text")
    trial.does("cd there && four")
    assert trial.report.commands == 7
    assert paper.online == [True, False, True, False]


def test_a_failure_is_a_stumble_but_where_it_is_tried(trial: Trial) -> None:
    assert trial.tries("fail").code == 1
    assert trial.report.stumbles == []
    trial.does("fail")
    with pytest.raises(GaveUpError, match="fail again -> 1: the last words / of it"):
        trial.must("fail again")
    assert len(trial.report.stumbles) == 2
    with pytest.raises(GaveUpError):
        trial.has("fail")


def test_the_first_success_counts(trial: Trial) -> None:
    trial.does("one")
    trial.succeeds()
    first = trial.report.seconds
    assert first is not None
    trial.succeeds()
    assert trial.report.seconds == first
    trial.is_told("this", found=True)
    trial.is_told("that", found=False)
    assert row(trial.report) == f"| one | {first:.1f} s | 1 | 0 | 1 of 2 |"


def test_no_success_is_said(trial: Trial) -> None:
    assert "no success" in row(trial.report)
    trial.report.skipped = "no keys"
    assert "skipped: no keys" in row(trial.report)


def test_a_base_that_is_there_needs_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.newcomers.machine.Path.exists", lambda path: path.name == "made")
    assert cannot_make(tmp_path, "noble") == ""
    monkeypatch.setattr("bench.newcomers.machine.Path.exists", lambda _path: False)
    assert "to check noble with" in cannot_make(tmp_path, "noble")
    assert cannot_make(tmp_path, "bookworm") == ""


def test_applications_of_newcomers_can_be_read() -> None:
    for text in (personas.APPLICATION, personas.BUILDBOT, personas.DJANGO):
        ast.parse(text)
    assert len({persona.title for persona in PERSONAS.values()}) == len(PERSONAS) >= 10
