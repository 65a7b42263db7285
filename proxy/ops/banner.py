"""What is said at start, on standard error: where we listen, which addresses are let in, what protects each route.

The lines that begin with "listening on" come when connections are accepted; scripts and tests may wait for them. A
configuration that protects nothing says so where it cannot be overlooked. No secret is ever shown, only its name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import proxy
from proxy.config.admission import callers, only, senders
from proxy.config.guards import token_place
from proxy.config.host import PYTHON_VERSION, Paint
from proxy.config.notation import count
from proxy.config.settings import Settings
from proxy.core.policy import Exposure, Policy, Route
from proxy.net.clock import Clock
from proxy.net.tls import certificate_notes, read_served, sentence
from proxy.ops.journal import StandardError
from proxy.ops.places import advice

_OWN = {"admin": "health and metrics", "console": "the console: `hookward console` prints a link"}


def announce(policy: Policy, settings: Settings, opened: Iterable[tuple[str, str]], loop: str) -> None:
    """Say everything. ``opened`` are those of ``ready_lines``, ``loop`` names the event loop."""
    paint = Paint.on(sys.stderr)
    lines = [
        headline(proxy.__version__, PYTHON_VERSION, loop, os.getpid()),
        *policy_lines(policy, settings, paint),
        *certificate_lines(policy, settings, paint),
        *(paint(f"warning: {text}", "yellow") for text in advice(settings)),
        *ready_lines(opened, secure=bool(settings.tls)),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
    if isinstance(sys.stderr, StandardError):
        sys.stderr.serves()


def status_line(policy: Policy, opened: Iterable[str], workers: int) -> str:
    """What ``systemctl status`` shows of a process that serves."""
    routes = count(len(policy.routes), "route")
    line = f"configuration {policy.generation} with {routes} on {', '.join(opened) or 'no address'}"
    return line if workers == 1 else f"{line}, {workers} workers"


def headline(version: str, python: str, loop: str, pid: int) -> str:
    """What runs here."""
    return f"hookward {version} (Python {python}, {loop}, pid {pid})"


def ready_lines(opened: Iterable[tuple[str, str]], *, secure: bool) -> list[str]:
    """One line per socket. ``opened``: "" (webhooks), "admin" or a plain TCP forward's name, and the address."""
    kind = "TLS" if secure else "plain HTTP"
    lines = []
    for name, address in opened:
        if not name:
            lines.append(f"listening on {address} ({kind})")
        else:
            lines.append(f"listening on {address} ({_OWN.get(name, f'tcp {name}')})")
    return lines


def policy_lines(policy: Policy, settings: Settings, paint: Paint) -> list[str]:
    """The routes and what protects each, or how exposed the application is without any; then the warnings."""
    lines = [*_exposure(policy, paint)] if settings.dials is None else [_agent_line(policy, settings)]
    if policy.exposure is Exposure.ROUTES:
        lines += [_route_line(route, paint) for route in policy.routes]
        if settings.listen:
            lines.append(f"everything else is answered 404; {only(policy.admission)} may connect")
            if settings.kernel_filter and policy.admission is not None and settings.proxy_protocol == "off":
                lines[-1] += ", the kernel filter drops all others"
    for forward in settings.tcp:
        to = str(forward.upstream).removeprefix("http://")
        lines.append(
            f"tcp {forward.name}: {forward.listen} to {to}; {only(callers(forward.allow, forward.deny))} may connect"
        )
    lines += [paint(f"warning: {text}", "yellow") for text in settings.warnings]
    return lines


def certificate_lines(policy: Policy, settings: Settings, paint: Paint) -> list[str]:
    """The certificates with their names and ends, then what is odd about them."""
    now, served = Clock.wall(), read_served(settings)
    lines = [f"certificate {sentence(one, now)}" for one in served]
    notes = certificate_notes(served, policy, settings, now)
    return lines + [paint(f"warning: {text}", "yellow") for text in notes]


def _agent_line(policy: Policy, settings: Settings) -> str:
    assert settings.dials is not None
    to = ", ".join(sorted({str(one) for one in policy.endpoints()}))
    relays = ", ".join(settings.dials.relays) or f"the relays joined in {settings.dials.state_dir}"
    return f"agent: what {relays} admits goes to {to}, and nowhere else"


def _exposure(policy: Policy, paint: Paint) -> Sequence[str]:
    to = ", ".join(sorted({str(one) for route in policy.routes for one in route.upstream}))
    if policy.exposure is Exposure.OPEN:
        return [
            paint(f"OPEN TO EVERYBODY (--open): every request is forwarded to {to}, without any check.", "red", "bold"),
            "    This is meant for trying things out, or for a network of your own.",
        ]
    if policy.exposure is Exposure.LOCAL:
        return [
            paint(f"LOCAL ONLY: nothing is configured, so only this host reaches {to}, by a loopback name.", "bold"),
            "    To let webhooks in, most people need three flags:",
            "      --path /hooks/github                            where they arrive",
            "      --provider github --secret-file github.secret   whose signature must be right",
            "      --allow set:github                              which addresses may connect at all",
            "    A tunnel of bare TCP (ssh -R, socat), and a proxy that speaks HTTP/1.1, adds no field and sends a",
            "    loopback Host, cannot be told from this host: put none in front until a route is configured.",
        ]
    return []


def _route_line(route: Route, paint: Paint) -> str:
    path = route.shown_path + (" (exactly)" if route.exact else "")
    methods = ",".join(sorted(method.decode("ascii") for method in route.methods))
    to = ", ".join(str(endpoint) for endpoint in route.upstream)
    if route.path_map is not None:
        to += f" as {route.path_map.place.decode('ascii')}"
    found = guards(route)
    protected = ", ".join(found) if found else paint("NOTHING PROTECTS IT", "red", "bold")
    observed = paint(" (ONLY OBSERVED: a proof that fails is counted, and let pass)", "yellow") if route.observe else ""
    return f"route {paint(route.name, 'cyan')}: {methods} {path} to {to}: {protected}{observed}"


def guards(route: Route) -> list[str]:
    """What a sender must prove on this route, in words."""
    found = []
    if route.signature is not None:
        found.append(f"{route.provider} signature ({count(len(route.signature.secrets), 'secret')})")
    if route.token is not None:
        place = token_place(route.token.kind, route.token.name)
        found.append(f"token in {place} ({count(len(route.token.secrets), 'secret')})")
    if any(endpoint.verifies for endpoint in route.upstream):
        found.append("a proof that its agent checks")
    if route.client_names is not None:
        found.append(f"client certificate of {', '.join(sorted(route.client_names))}")
    return found + list(_conditions(route))


def _conditions(route: Route) -> Iterator[str]:
    """What else must hold of a delivery, which proves nothing."""
    if route.allow is not None or route.deny:
        yield f"{'' if route.allow is None else 'only '}{senders(route.allow, route.deny)}"
    if route.content_types is not None:
        yield b", ".join(sorted(route.content_types)).decode("ascii")
    if route.payload is not None and route.payload.where:
        yield f"where {', '.join(one.place.text for one in route.payload.where)}"
    if route.events is not None:
        yield f"events {', '.join(sorted(route.events))}"
