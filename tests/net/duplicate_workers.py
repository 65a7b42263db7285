"""The promise about duplicates, as a machine that hypothesis drives over several workers and one store:

what failed and comes again is always delivered; what was delivered and comes again is never delivered twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule

from proxy.net.duplicates import SharedStore
from proxy.reasons import Reason
from tests.net.duplicate_stores import Attempt, Worker

WORKERS = 3
StoreOf = Callable[[int], SharedStore | None]


def machine(store_of: StoreOf, examples: int) -> type[RuleBasedStateMachine]:
    """The machine; ``store_of`` makes the store of a worker, and is called on its loop."""

    class Deliveries(RuleBasedStateMachine):
        attempts: Bundle[tuple[Worker, Attempt]] = Bundle("attempts")
        runs = 0

        def __init__(self) -> None:
            super().__init__()
            type(self).runs += 1
            self.scope = str(type(self).runs)  # Redis is not emptied in between
            self.loop = asyncio.new_event_loop()
            self.workers = self.loop.run_until_complete(self._start())
            self.taken: dict[tuple[str, int], int] = {}  # what the upstream said 2xx to
            self.flying: dict[tuple[str, int], Attempt] = {}

        async def _start(self) -> list[Worker]:
            # One process without a shared store is all the workers that it can have.
            shared = [store_of(number) for number in range(WORKERS)]
            count = WORKERS if shared[0] is not None else 1
            return [Worker(shared[number], chr(97 + number)) for number in range(count)]

        async def _settle(self) -> None:
            for worker in self.workers:
                await worker.settled()

        @staticmethod
        def names(attempt: Attempt) -> set[tuple[str, int]]:
            return {("id", attempt.delivery), ("signature", attempt.signature)}

        @rule(
            target=attempts, worker=st.integers(0, WORKERS - 1), delivery=st.integers(0, 2), signature=st.integers(0, 2)
        )
        def come(self, worker: int, delivery: int, signature: int) -> tuple[Worker, Attempt]:
            where = self.workers[worker % len(self.workers)]

            async def go() -> Attempt:
                attempt = where.come(delivery, signature, scope=self.scope)
                await self._settle()
                return attempt

            attempt = self.loop.run_until_complete(go())
            names = self.names(attempt)
            if names & self.taken.keys():
                # Another delivery with one of these names, in flight here, is met before what another worker knows.
                flying = [(Reason.DUPLICATE_IN_FLIGHT, 409)] if names & self.flying.keys() else []
                # Ids and signatures of two deliveries may be crossed: then either answer is true.
                taken = [(Reason.DUPLICATE_DELIVERED, status) for status in self.taken.values()]
                assert attempt.answer in [*taken, *flying]
                if attempt.answer not in flying:
                    self.taken.setdefault(("signature", signature), attempt.answer[1])
            elif names & self.flying.keys():
                assert attempt.answer == (Reason.DUPLICATE_IN_FLIGHT, 409)
            else:
                assert attempt.answer == "granted"
                self.flying |= dict.fromkeys(names, attempt)
            return where, attempt

        @rule(one=consumes(attempts), status=st.sampled_from([200, 201, 204]))
        def succeed(self, one: tuple[Worker, Attempt], status: int) -> None:
            _, attempt = one
            if attempt.answer == "granted":
                self.taken |= dict.fromkeys(self.names(attempt), status)
            self._end(one, lambda: attempt.ticket.delivered(status))

        @rule(one=consumes(attempts))
        def fail(self, one: tuple[Worker, Attempt]) -> None:
            self._end(one, lambda: None)

        def _end(self, one: tuple[Worker, Attempt], outcome: Callable[[], None]) -> None:
            _, attempt = one
            self.flying = {name: other for name, other in self.flying.items() if other is not attempt}

            async def go() -> None:
                assert attempt.ticket is not None
                outcome()
                attempt.ticket.release()
                await self._settle()

            self.loop.run_until_complete(go())

        def teardown(self) -> None:
            async def close() -> None:
                for worker in self.workers:
                    await worker.desk.close()

            self.loop.run_until_complete(close())
            self.loop.close()

    Deliveries.TestCase.settings = settings(max_examples=examples, stateful_step_count=25, deadline=None)
    return Deliveries
