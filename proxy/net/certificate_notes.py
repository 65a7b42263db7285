"""What is said of the certificates that we serve: their names and dates, and what is odd about them.

``check``, the start and ``/status`` say it from here. Only certificates are read, which are public, and no key; that
they can be used at all is known when they are loaded (``net.tls``).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.commandline import visible
from proxy.config.problems import Note, audible
from proxy.config.settings import Settings
from proxy.core.policy import Policy
from proxy.net.certificate import Served, read_certificate

_DAY_S = 86400.0
_MAX_NAMED = 5


def read_served(settings: Settings) -> list[Served]:
    """Those of the settings, as their files are now. What cannot be read is left out."""
    found = []
    for one in settings.tls:
        with contextlib.suppress(OSError, ValueError):
            certificate = read_certificate(Path(one.cert).read_text(encoding="ascii", errors="replace"))
            names = tuple(name.lower() for name in one.names) or certificate.names
            found.append(Served(one.cert, names, certificate))
    return found


def sentence(one: Served, now: float) -> str:
    """Its names and dates in one line: ``fullchain.pem: hooks.example.com; until 2027-01-01 (33 days)``."""
    end = one.certificate.not_after
    left = {"expired": "EXPIRED", "not_yet_valid": f"NOT VALID before {_date(one.certificate.not_before)}"}.get(
        one.state(now), show_days(end - now)
    )
    more = f" and {len(one.names) - _MAX_NAMED} more" if len(one.names) > _MAX_NAMED else ""
    return f"{one.file}: {visible(', '.join(one.names[:_MAX_NAMED])) or 'no names'}{more}; until {_date(end)} ({left})"


def certificate_notes(served: Sequence[Served], policy: Policy, settings: Settings, now: float) -> tuple[str, ...]:
    """The warnings at ``now``, without those that are silenced."""
    notes = [note.at(one.file) for one in served for note in _of_dates(one, now)]
    if served:
        notes += _of_names(served, policy)
    return audible(notes, settings.silence)


def _of_dates(one: Served, now: float) -> Iterator[Note]:
    begin, end = one.certificate.not_before, one.certificate.not_after
    state = one.state(now)
    if state == "expired":
        yield Note("H501", f"the certificate has expired on {_date(end)}, so that no sender connects")
    elif state == "not_yet_valid":
        yield Note("H502", f"the certificate is not valid before {_date(begin)}, so that no sender connects")
    elif state == "expires_soon":
        yield Note("H503", f"the certificate expires in {show_days(end - now)}, on {_date(end)}")
    if not one.certificate.names:
        yield Note("H504", "the certificate has no names (subjectAltName), so that no sender accepts it")


def _of_names(served: Sequence[Served], policy: Policy) -> Iterator[Note]:
    hosts = _public_hosts(policy)
    for host, route_name in hosts.items():
        if not any(covers(one.certificate.names, host) for one in served):
            yield Note("H505", f"route {route_name}: no certificate has the name {host} of `public_url`")
    for one in served if hosts else ():
        if one.names and not any(covers(one.certificate.names, host) for host in hosts):
            yield Note("H506", f"{one.file}: no route's `public_url` has a name of this certificate")


def _public_hosts(policy: Policy) -> dict[str, str]:
    """The hosts to which providers connect by TLS, as far as routes say so, each with a route that does."""
    hosts: dict[str, str] = {}
    for route in policy.routes:
        url = (route.signature.public_url if route.signature is not None else None) or ""
        host = urlsplit(url).hostname if url.lower().startswith("https:") else None
        if host is not None:
            hosts.setdefault(host.lower().rstrip("."), route.name)
    return hosts


def covers(names: Iterable[str], host: str) -> bool:
    """Whether a client takes a certificate with these names for ``host``: by its name, or one wildcard a label up."""
    return not {host, f"*.{host.partition('.')[2]}"}.isdisjoint(names)


def show_days(seconds: float) -> str:
    """A time that is left, as people say it."""
    days = int(seconds / _DAY_S)
    return "less than a day" if days < 1 else f"{days} day{'s' if days > 1 else ''}"


def _date(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d")
