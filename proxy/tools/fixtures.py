"""Runs the ``[[test]]`` stanzas of a configuration: saved deliveries through every check, against what is expected."""

from __future__ import annotations

from proxy.config.flags import FlagError
from proxy.config.settings import Fixture, Loaded
from proxy.core.addresses import Peer
from proxy.errors import Problem
from proxy.tools.explain import read_file
from proxy.tools.walk import Trip, Walk, walk
from proxy.values import frozen


@frozen
class Result:
    """What came of one. ``problem`` None: what was expected."""

    fixture: Fixture
    said: str
    problem: Problem | None = None


def run_fixtures(loaded: Loaded, now: float) -> list[Result]:
    """The results, in order. ``now`` (seconds since the epoch) is for deliveries that name no time of their own."""
    return [_run(fixture, loaded, now) for fixture in loaded.settings.fixtures]


def _run(fixture: Fixture, loaded: Loaded, now: float) -> Result:
    try:
        saved = read_file(fixture.file)
    except FlagError as error:
        first = error.problems[0]
        return Result(fixture, "cannot be read", Problem(fixture.where, f"{fixture.file}: {first.what}", first.mend))
    at = fixture.at if fixture.at is not None else saved.at if saved.at is not None else now
    found = walk(Trip(saved.head, saved.body, loaded.policy, at, _peer(fixture.address)))
    if found.word == fixture.expect:
        return Result(fixture, f"{found.word}{f' by route {found.route}' if found.route else ''}")
    what = f"{fixture.file}: {found.word}, and {fixture.expect} was expected"
    return Result(fixture, found.word, Problem(fixture.where, what, _mend(found)))


def _mend(found: Walk) -> str:
    if found.diagnosis is not None:
        return f"{found.diagnosis.word}: {found.diagnosis.sentence}"
    failed = next((step for step in found.steps if step.passed is False), None)
    said = f"it failed at {failed.name}: {failed.said}; " if failed is not None else ""
    return f"{said}`hookward explain FILE -c CONFIG` shows every check"


def _peer(address: str | None) -> Peer | None:
    if address is None:
        return None
    return Peer.unix() if address == "unix:" else Peer.of(address)
