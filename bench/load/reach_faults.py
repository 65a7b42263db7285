"""What is done to a relay, its agent and the network between them, and what of it must be noticed by which end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep

from bench.load.reach_stage import PATIENCE_S, Program, Stage, until
from tests.whole.impaired import PUBLIC, Conditions

#: What is promised: dead within so many seconds, working within so many of the network's return, red within so many.
NOTICED_S = 10.0
WORKS_S = 5.0
RED_S = 15.0
#: A link that is only bad is so for this time.
BAD_S = 12.0
STOPPED_S = 60.0
#: The same host or NAT has one of these, in turns.
NEARS = ("10.99.0.1", "10.99.0.2")
FARS = ("192.168.7.2", "192.168.8.2")
PUBLICS = (PUBLIC, "10.99.0.101")

SAID = {"relay": "agent ci has disconnected", "agent": "a worker is lost|was suspended"}


@dataclass(frozen=True)
class Fault:
    """``begin`` breaks something and gives what mends it; ``noticed`` are the ends that have to notice.

    ``lasts_s`` is how long it lasts after it was noticed; with ``whole``, from its beginning. ``returns``: the way is
    there again at once, but only for new connections. ``stands``: nothing ends, and every delivery comes through.
    ``red``: readiness is asked.
    """

    begin: Callable[[Stage], Callable[[], object]]
    noticed: tuple[str, ...] = ()
    lasts_s: float = 0.0
    returns: bool = False
    stands: bool = False
    red: bool = False
    whole: bool = False


def other(choices: tuple[str, str], now: str) -> str:
    return choices[now == choices[0]]


def drops(*ways: str) -> Callable[[Stage], Callable[[], object]]:
    def begin(stage: Stage) -> Callable[[], object]:
        stage.link.set(*(getattr(stage.link, way) for way in ways), drops=True)
        return stage.link.set

    return begin


def bad(conditions: Conditions) -> Callable[[Stage], Callable[[], object]]:
    def begin(stage: Stage) -> Callable[[], object]:
        stage.link.set(**vars(conditions))
        return stage.link.set

    return begin


def nothing() -> None:
    """It is over as soon as it has happened."""


def reset(stage: Stage) -> Callable[[], object]:
    stage.link.reset()
    return nothing


def agent_moves(stage: Stage) -> Callable[[], object]:
    address, bits = stage.far_address.split("/")
    new = f"{other(FARS, address)}/{bits}"
    stage.link.move("far", stage.far_address, new)
    stage.far_address = new
    return nothing


def nat_forgets(stage: Stage) -> Callable[[], object]:
    now = PUBLICS[stage.link.nat.public[-1] == 101]
    stage.link.rebind(other(PUBLICS, now))
    return nothing


def relay_moves(stage: Stage) -> Callable[[], object]:
    address, bits = stage.near_address.split("/")
    stage.names.address = other(NEARS, address)
    new = f"{stage.names.address}/{bits}"
    stage.link.move("near", stage.near_address, new)
    stage.near_address = new
    return nothing


def stopped(which: str) -> Callable[[Stage], Callable[[], object]]:
    def begin(stage: Stage) -> Callable[[], object]:
        process = getattr(stage, which).process
        process.send_signal(signal.SIGSTOP)
        return lambda: process.send_signal(signal.SIGCONT)

    return begin


def agent_killed(stage: Stage) -> Callable[[], object]:
    stage.agent.process.kill()
    stage.agent.process.wait()

    def again() -> None:
        stage.agent = stage.start_agent()

    return again


def relay_killed(stage: Stage) -> Callable[[], object]:
    stage.relay.process.kill()
    stage.relay.process.wait()

    def again() -> None:
        stage.relay = stage.start_relay()

    return again


BOTH = ("relay", "agent")
FAULTS: dict[str, Fault] = {
    "black-hole": Fault(drops("to_near", "to_far"), BOTH, lasts_s=5.0, red=True),
    "to-the-agent": Fault(drops("to_far"), BOTH, lasts_s=5.0, red=True),
    "to-the-relay": Fault(drops("to_near"), BOTH, lasts_s=5.0, red=True),
    "reset": Fault(reset, BOTH, returns=True),
    "loss": Fault(bad(Conditions(loss=0.05)), lasts_s=BAD_S, stands=True),
    "delay": Fault(bad(Conditions(delay_s=0.15)), lasts_s=BAD_S, stands=True),  # 300 ms there and back
    "reordering": Fault(bad(Conditions(reordered=0.25, delay_s=0.01)), lasts_s=BAD_S, stands=True),
    "agent-moves": Fault(agent_moves, BOTH, returns=True),
    "nat-rebinding": Fault(nat_forgets, BOTH, returns=True),
    "dns-change": Fault(relay_moves, BOTH, returns=True),
    "agent-stopped": Fault(stopped("agent"), ("relay",), lasts_s=STOPPED_S, whole=True, red=True),
    "relay-stopped": Fault(stopped("relay"), ("agent",), lasts_s=STOPPED_S, whole=True),
    "agent-killed": Fault(agent_killed, ("relay",), red=True),
    "relay-killed": Fault(relay_killed, ("agent",)),
}


def noticed(program: Program, end: str, begun: float) -> float:
    """Within how many seconds that end has noticed."""
    until(lambda: program.when(SAID[end], begun))
    at = program.when(SAID[end], begun)
    return PATIENCE_S if at is None else round(at - begun, 2)


def one_round(stage: Stage, name: str, faults: Mapping[str, Fault]) -> dict[str, object]:
    """What came of one fault."""
    fault = faults[name]
    until(stage.works)
    until(stage.ready)
    ends = {"relay": stage.relay, "agent": stage.agent}
    found: dict[str, object] = {"fault": name}
    begun = monotonic()
    mend = fault.begin(stage)
    if fault.returns:
        found["works_again_s"] = round(until(stage.works), 2)
    if fault.red:
        until(lambda: not stage.ready())
        found["red_s"] = round(monotonic() - begun, 2)
    for end in fault.noticed:
        found[f"{end}_noticed_s"] = noticed(ends[end], end, begun)
    if fault.stands:
        statuses = []
        while monotonic() - begun < fault.lasts_s:
            statuses.append(stage.deliver())
            sleep(0.2)
        found["failed"] = [status for status in statuses if status != 200]
        found["ended"] = sum(ends[end].when(SAID[end], begun) is not None for end in BOTH)
    else:
        sleep(max(0.0, fault.lasts_s - (monotonic() - begun if fault.whole else 0.0)))
    mended = monotonic()
    mend()
    found["mend_s"] = round(monotonic() - mended, 2)
    if not fault.returns:
        found["works_again_s"] = round(until(stage.works), 2)
    found["green_s"] = round(until(stage.ready), 2)
    return found


def is_good(found: dict[str, object]) -> bool:
    """Whether it is as promised."""
    fault = FAULTS[str(found["fault"])]
    works_s = WORKS_S
    if fault.returns:  # what is dead has to be noticed first
        works_s += max(number(found, f"{end}_noticed_s") for end in fault.noticed)
    return (
        all(number(found, f"{end}_noticed_s") <= NOTICED_S for end in fault.noticed)
        and number(found, "red_s") <= RED_S
        and number(found, "works_again_s") <= works_s
        and not found.get("failed")
        and not found.get("ended")
    )


def number(found: dict[str, object], name: str) -> float:
    value = found.get(name, 0.0)
    assert isinstance(value, float | int)
    return float(value)
