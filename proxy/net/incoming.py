"""``IncomingBody``: the body of one request while it comes in piece by piece, or is judged beside the loop.

It has what such a body takes: its share of the buffer budget, its temporary file, and the thread that
judges it. All of it is given back by ``release``. A small body that came in one read needs none of this.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.core.budget import Reservation
from proxy.core.relay import Relay
from proxy.net.clock import Ready
from proxy.net.flow import BUFFER, LARGE_BUFFER, LARGE_READ_BYTES, Pause, Reading
from proxy.net.large_bodies import Job, SpillFile, Verdict
from proxy.net.site import Site

#: How long an exchange waits for its share of the buffer budget, or for a thread, before it is answered 503.
BUDGET_WAIT_S = 15.0
#: While a streamed body is under way it holds what is withheld and one write buffer, no longer a whole window.
STREAMING_BYTES = 160 * 1024
#: The same where there is plenty, and reads are large: the upstream may take nothing of one.
GENEROUS_BYTES = STREAMING_BYTES + LARGE_READ_BYTES


@dataclass(slots=True, eq=False, repr=False)
class IncomingBody:
    """One body on its way in."""

    _site: Site
    _client: Ready  # is stepped when there is room, and when there is a verdict
    _reading: Reading
    _relay: Relay
    spill: SpillFile | None = None  # takes what memory does not

    verdict: tuple[Verdict] | None = field(init=False, default=None)  # of the thread, and not told yet
    _reservation: Reservation | None = field(init=False, default=None)
    _job: Job | None = field(init=False, default=None)
    _waits_since: float = field(init=False, default=0.0)  # for its share of the budget, or for a thread

    def reserve(self) -> Reservation:
        """Its share of the budget: as much of it as there is now."""
        if self._reservation is None:
            party = self._site.party_of(self._relay.admit.client)
            self._reservation = self._site.budget.reserve(party, self._granted)
            if self.spill is not None:
                self.spill.party = party
        return self._reservation

    def _granted(self) -> None:
        if self._reading.resume(Pause.BUDGET):
            self._site.turn.go_on(self._client)

    def count(self, unsent: int) -> None:
        """Hold room for what is held back, or read faster where memory is plenty; ``unsent`` waits for the upstream."""
        reservation, gate = self._reservation, self._relay.gate
        if reservation is None:
            return
        if not (gate.streaming or gate.spilling):
            if not reservation.hold(gate.held_bytes):
                self._waits_since = self._site.clock.now()
                self._reading.pause(Pause.BUDGET)
            return
        generous = gate.streaming and gate.takes_large_pieces and reservation.grow(GENEROUS_BYTES)
        if not generous:
            reservation.shrink(max(STREAMING_BYTES if gate.streaming else 0, unsent + gate.held_bytes))
        self._reading.buffer = LARGE_BUFFER if generous else BUFFER

    def hold(self) -> bool:
        """Hold room for all that came and is not in the file. Whether there is as much."""
        spilled = 0 if self.spill is None else self.spill.size
        return self.reserve().hold(self._relay.gate.received - spilled)

    def judge(self) -> bool:
        """Have the whole body judged by a thread, and then the client stepped. Whether there is room for that."""
        gate, reservation = self._relay.gate, self.reserve()
        self._waits_since = self._site.clock.now()
        if not (gate.spilling or reservation.hold(gate.held_bytes)):
            return False
        self._job = self._site.apart.submit(reservation.party, gate.finish, self._judged, self._not_judged)
        return True

    def _judged(self, verdict: Verdict) -> None:
        self._job = None
        self.verdict = (verdict,)
        self._site.turn.go_on(self._client)

    def _not_judged(self, bug: Exception) -> None:
        self._job = None
        self._client.failed(bug)

    @property
    def waits(self) -> bool:
        """Whether it waits for its share of the budget."""
        return bool(self._reading.reasons & Pause.BUDGET)

    def lacks(self, now: float) -> str:
        """What it has waited for too long, "" where it has not."""
        lacking = "buffer_budget" if self.waits else "verification" if self._job and not self._job.started else ""
        return lacking if now - self._waits_since > BUDGET_WAIT_S else ""

    def release(self) -> None:
        """Give everything back; what a thread still reads, later. Calling it twice does no harm."""
        # What calls back is let go of as well: each would keep the other, and the body, until the collector looks.
        job, self._job = self._job, None
        if job is not None:
            self._site.apart.abandon(job, self._give_back)
        else:
            self._give_back()

    def _give_back(self) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            reservation.release()
        if self.spill is not None:
            self.spill.close()
