"""The tables of states: whole, without dead ends, and strict."""

from __future__ import annotations

import itertools
from enum import Enum

import pytest

from proxy.core.states import (
    ANSWER_MOVES,
    CLIENT_MOVES,
    REQUEST_MOVES,
    SERVICE_MOVES,
    UPSTREAM_MOVES,
    AnswerState,
    ClientState,
    IllegalMoveError,
    RequestState,
    ServiceState,
    UpstreamState,
)

MACHINES = [
    pytest.param(ClientState, CLIENT_MOVES, ClientState.HEAD, id="client"),
    pytest.param(UpstreamState, UPSTREAM_MOVES, UpstreamState.DIALING, id="upstream"),
    pytest.param(RequestState, REQUEST_MOVES, RequestState.RECEIVING, id="request"),
    pytest.param(AnswerState, ANSWER_MOVES, AnswerState.NONE, id="answer"),
    pytest.param(ServiceState, SERVICE_MOVES, ServiceState.STARTING, id="service"),
]


@pytest.mark.parametrize(("states", "moves", "first"), MACHINES)
class TestTables:
    def test_every_state_is_decided(self, states, moves, first) -> None:
        assert set(moves) == set(states)

    def test_every_state_is_reached(self, states, moves, first) -> None:
        assert reached(moves, first) == set(states)

    def test_every_state_is_left_towards_the_end(self, states, moves, first) -> None:
        end = list(states)[-1]
        for state in states:
            assert end in reached(moves, state)
        assert not moves[end]

    def test_a_move_is_allowed_or_loud(self, states, moves, first) -> None:
        for old, new in itertools.product(states, repeat=2):
            if new in moves[old]:
                assert moves[old][new] is new
            else:
                with pytest.raises(IllegalMoveError, match=rf"{old.value} -> {new.value}"):
                    moves[old][new]


def reached(moves: dict[Enum, dict[Enum, Enum]], first: Enum) -> set[Enum]:
    """All states that can be reached from ``first``, itself among them."""
    found = {first}
    waiting = [first]
    while waiting:
        fresh = moves[waiting.pop()].keys() - found
        found |= fresh
        waiting += fresh
    return found
