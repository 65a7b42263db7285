"""Slots: the caps, who is exempt, and that each slot comes back exactly once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.addresses import AddressSet, Peer
from proxy.net.admission import ConnectionSlots
from tests.net.accepting import policy_of

LISTED = AddressSet.parse(["192.0.2.1"])
ONE, OTHER = Peer.of("192.0.2.1", 1000), Peer.of("192.0.2.2", 1000)


def test_the_cap_on_all_connections():
    slots, policy = ConnectionSlots(), policy_of(max_connections=2)
    first, second = slots.take(policy, ONE), slots.take(policy, ONE)
    assert first
    assert second
    assert slots.take(policy, ONE) is None
    assert slots.counters.refused_full == 1
    first.release()
    assert slots.take(policy, ONE)
    assert slots.counters.open == 2


def test_the_cap_on_one_address():
    slots, policy = ConnectionSlots(), policy_of(max_connections_per_address=1)
    first = slots.take(policy, ONE)
    assert first.charge(ONE, policy)
    assert not slots.take(policy, ONE).charge(ONE, policy)
    assert slots.take(policy, ONE).charge(OTHER, policy)
    assert slots.counters.refused_per_address == 1
    assert slots.counters.accepted == 2
    assert slots.counters.open == 2
    first.release()
    assert slots.take(policy, ONE).charge(ONE, policy)


def test_ipv6_counts_by_the_network_that_one_customer_owns():
    slots, policy = ConnectionSlots(), policy_of(max_connections_per_address=1)
    assert slots.take(policy, ONE).charge(Peer.of("2001:db8::1"), policy)
    assert not slots.take(policy, ONE).charge(Peer.of("2001:db8::ffff:1"), policy)
    assert slots.take(policy, ONE).charge(Peer.of("2001:db8:0:1::1"), policy)


def test_who_speaks_for_many_has_no_cap_of_its_own():
    slots = ConnectionSlots()
    policy = policy_of(max_connections_per_address=1, trusted=AddressSet.parse(["192.0.2.1"]))
    for peer in (ONE, Peer.unix()):
        assert slots.take(policy, ONE).charge(peer, policy)
        assert slots.take(policy, ONE).charge(peer, policy)


def test_a_named_address_is_one_client_whatever_is_trusted():
    slots, policy = ConnectionSlots(), policy_of(max_connections_per_address=1, trusted=LISTED)
    assert [slots.take(policy, ONE).charge(ONE, policy, named=True) for _ in range(2)] == [True, False]
    assert slots.counters.refused_per_address == 1


class TestReservedShare:
    """Strangers leave a share of the places to listed addresses, where there are both."""

    policy = replace(policy_of(max_connections=10, max_handshakes=10, reserved_share=20), reserved_for=LISTED)

    def test_of_connections(self):
        slots = ConnectionSlots()
        strangers = [slots.take(self.policy, ONE).charge(OTHER, self.policy) for _ in range(9)]
        assert strangers == [True] * 8 + [False]
        assert [slots.take(self.policy, ONE).charge(ONE, self.policy) for _ in range(2)] == [True] * 2
        assert slots.take(self.policy, ONE) is None
        assert slots.counters.refused_full == 2
        assert slots.counters.open == 10

    def test_of_handshakes(self):
        slots = ConnectionSlots()
        held = [slots.take(self.policy, ONE) for _ in range(10)]
        begun = [slot.begin_handshake(OTHER, self.policy) for slot in held[:9]]
        assert begun == [True] * 8 + [False]
        assert held[9].begin_handshake(ONE, self.policy)
        assert slots.counters.refused_handshakes == 1
        assert slots.counters.open == 9
        for slot in (*held[:8], held[9]):
            slot.end_handshake()
        assert slots.counters.handshakes == 0

    def test_where_all_are_strangers_nothing_is_kept(self):
        slots, policy = ConnectionSlots(), policy_of(max_connections=10, reserved_share=20)
        assert all(slots.take(policy, ONE).charge(OTHER, policy) for _ in range(10))


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER, None]), st.integers(1, 3))))
def test_every_slot_comes_back_once(connections):
    slots, policy = ConnectionSlots(), policy_of(max_connections=8, max_connections_per_address=3)
    held = []
    for peer, times in connections:
        slot = slots.take(policy, ONE)
        if slot is not None and (peer is None or slot.charge(peer, policy)):
            held.append((slot, times))
        assert slots.counters.open == len(held)
    for slot, times in held:
        for _ in range(times):
            slot.release()
    assert slots.counters.open == 0
    assert slots.groups == {}
