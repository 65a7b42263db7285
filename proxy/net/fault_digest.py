"""Why connections came to nothing, in few lines: the first of a cause at once, those that follow as one line a minute.

A scan can then neither fill the journal nor go unseen. The line of a minute names the addresses that came most. What is
remembered is bounded, of causes and of addresses: of many addresses, those that came least are forgotten first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import field

from proxy.core.setup_faults import SetupFault
from proxy.values import mutable

MINUTE_S = 60.0
#: Causes that are told apart within a minute; OpenSSL knows some hundred, of which few are common.
MAX_FAULTS = 50
#: Addresses that are told apart for one cause.
MAX_ADDRESSES = 256
#: Those that a line names.
NAMED = 3

OTHERS = SetupFault("other", "connections failed for other causes", "see hookward_tls_failures_total for their kinds")


@mutable
class _Seen:
    """One cause within a minute, beyond the first, which has its line."""

    fault: SetupFault
    count: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    forgotten: int = 0  # times that an address was forgotten, which may come again

    def note(self, address: str) -> None:
        """It happened once more."""
        self.count += 1
        self.addresses[address] += 1
        if len(self.addresses) > MAX_ADDRESSES:
            # What comes often is among the half that stays, in whatever order the others come.
            kept = Counter(dict(self.addresses.most_common(MAX_ADDRESSES // 2)))
            self.forgotten += len(self.addresses) - len(kept)
            self.addresses = kept

    def sum_up(self) -> str:
        """The line of the minute."""
        most = self.addresses.most_common(NAMED)
        named = ", ".join(f"{address} ({count})" for address, count in most)
        others = len(self.addresses) - len(most) + self.forgotten
        more = f" and {'over ' if self.forgotten else ''}{others} other address{'' if others == 1 else 'es'}"
        return f"{self.fault.said}: {self.count} more within a minute, from {named}{more if others else ''}"


class FaultDigest:
    """Counts causes, and tells them. ``tell`` is given a line for the journal."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], None]) -> None:
        self._loop = loop
        self._tell = tell
        self._seen: dict[str, _Seen] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, fault: SetupFault, address: str) -> None:
        """It happened once more, to a connection from ``address``."""
        seen = self._seen.get(fault.said)
        if seen is None and len(self._seen) >= MAX_FAULTS:
            fault = OTHERS
            seen = self._seen.get(fault.said)
        if seen is not None:
            seen.note(address)
            return
        self._seen[fault.said] = _Seen(fault)
        self._tell(f"{fault.said} (from {address}): {fault.mend}")
        if self._timer is None:
            self._timer = self._loop.call_later(MINUTE_S, self._minute_over)

    def close(self) -> None:
        """Tell what was counted, and stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sum_up()
        self._seen.clear()

    def _minute_over(self) -> None:
        self._sum_up()
        # What still happens goes on without a line of its own.
        self._seen = {said: _Seen(seen.fault) for said, seen in self._seen.items() if seen.count}
        self._timer = self._loop.call_later(MINUTE_S, self._minute_over) if self._seen else None

    def _sum_up(self) -> None:
        for seen in self._seen.values():
            if seen.count:
                self._tell(seen.sum_up())
