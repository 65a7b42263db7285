"""What hookward wants to reach, as data: against peers of the same run, since absolute figures drift, or as a bound.

``must`` and ``proud`` are factors of the peer's figure, or values where there is no peer. Whether more or less is
wanted is the figure's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.load.workloads import FIGURES, WORKLOADS

Medians = Mapping[str, Mapping[str, Mapping[str, float]]]  # workload, peer, figure
VERIFYING = ("nginx_lua", "nginx_lua_mem", "nginx_njs", "haproxy_large", "starlette")
OURS = "hookward"


@dataclass(frozen=True)
class Target:
    workload: str
    figure: str
    must: float | None = None
    proud: float | None = None
    peer: str = ""

    def value(self, medians: Medians) -> float | None:
        """Our figure, or its ratio to the peer's; None where the run does not have both."""
        peers = medians.get(self.workload, {})
        ours = peers.get(OURS, {}).get(self.figure)
        if ours is None or not self.peer:
            return ours
        theirs = peers.get(self.peer, {}).get(self.figure)
        return ours / theirs if theirs else None

    def holds(self, value: float, bound: float) -> bool:
        return value >= bound if FIGURES[self.figure].more_is_better else value <= bound

    def verdict(self, value: float) -> str:
        if self.must is not None and not self.holds(value, self.must):
            return "missed"
        if self.proud is not None:
            return "proud" if self.holds(value, self.proud) else ("met" if self.must is not None else "not yet")
        return "met"


TARGETS = (
    *(
        target
        for workload in ("keepalive", "keepalive_256")
        for target in (Target(workload, "per_s", 4, None, "aiohttp"), Target(workload, "per_s", 0.55, 1, "nginx_lua"))
    ),
    Target("close", "per_s", 3, None, "aiohttp"),
    Target("close", "per_s", None, 0.45, "nginx_lua"),
    Target("tls", "per_s", 0.4, 0.6, "nginx_lua"),
    Target("keepalive", "cpu_us", 1.9, 1.6, "nginx_lua"),
    Target("keepalive", "cpu_us", 1 / 3.5, 1 / 4, "aiohttp"),
    Target("forged", "cpu_us", 2.1, 1.7, "nginx_lua"),
    Target("close", "cpu_us", 2.2, 1.8, "nginx_lua"),
    Target("tls", "cpu_us", 2.2, 1.8, "nginx_lua"),
    Target("handshakes", "cpu_us", 1.5, 1.2, "nginx_lua"),
    Target("forged", "per_s", 8, None, "aiohttp"),
    Target("forged", "per_s", None, 0.6, "nginx_lua"),
    Target("strangers", "cpu_us_connection", 20),
    Target("strangers", "user_us_connection", None, 0.5),
    Target("silent", "cpu_us_connection", 20),
    Target("silent", "user_us_connection", None, 0.5),
    *(
        target
        for workload, floor, aiohttp in (
            ("large", 0.92, 1),
            ("large_8", 0.92, 1),
            ("large_chunked", 0.9, 1.05),
            ("large_chunked_8", 0.9, 1.05),
        )
        for target in (
            Target(workload, "mib_per_s", floor, 0.95, "floor"),
            Target(workload, "mib_per_s", aiohttp, None, "aiohttp"),
            *(Target(workload, "mib_per_s", None, 1, peer) for peer in VERIFYING),
        )
    ),
    Target("last_byte", "lag_ms", 0.5),
    Target("last_byte_8", "lag_ms", 1),
    Target("memory", "grown_rss_mib", 8),
    Target("memory", "rest_rss_mib", 30, 26),
    Target("idle", "kib_connection", 6),
    Target("idle", "idle_cpu_ms", 1),
    Target("start", "start_ms", 180, 150),
    Target("latency", "p50_us", 1.5, None, "nginx_lua"),
    Target("arrivals", "p99_us", 2, None, "nginx_lua"),
    Target("workers", "scaling", 1.8),
)


def verdicts(medians: Medians) -> list[tuple[Target, float, str]]:
    """The targets of which the run has the figures."""
    known = [(target, target.value(medians)) for target in TARGETS]
    return [(target, value, target.verdict(value)) for target, value in known if value is not None]


def table(medians: Medians) -> str:
    """As Markdown; "" if the run has none."""
    found = verdicts(medians)
    lines = ["| workload | figure | target | proud of | measured | |", "|---|---|---|---|---|---|"]
    for target, value, verdict in found:
        unit = f" x {target.peer}" if target.peer else ""
        sign = "≥" if FIGURES[target.figure].more_is_better else "≤"
        must, proud = (f"{sign} {bound:g}{unit}" if bound is not None else "" for bound in (target.must, target.proud))
        cells = (WORKLOADS[target.workload].title, FIGURES[target.figure].title, must, proud, f"{value:.2f}", verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) if found else ""
