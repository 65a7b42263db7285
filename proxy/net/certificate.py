"""What a certificate says about itself: for which names it stands, and from when to when (RFC 5280 section 4.1).

The ssl module shows this only of a peer's certificate that it has verified, and ours is not a peer's. So the few fields
are read from the DER bytes. Nothing is verified here and no key is seen: OpenSSL judges the certificate when it is
loaded and when a client meets it.

``check``, the start and ``/status`` say from here what the names and dates of served certificates are, and what is odd
about them. That they can be used at all is known when they are loaded (``net.tls``).
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proxy.config.host import visible
from proxy.config.problems import Note, audible
from proxy.config.settings import Settings
from proxy.core.policy import Policy
from proxy.http1 import utc_day
from proxy.values import frozen

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"

# Tags of X.690: universal ones, and the context-specific ones of TBSCertificate and GeneralName.
_BOOLEAN = 0x01
_OCTET_STRING = 0x04
_OID = 0x06
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_SEQUENCE = 0x30
_VERSION = 0xA0
_EXTENSIONS = 0xA3
_DNS_NAME = 0x82
_IP_ADDRESS = 0x87
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")  # 2.5.29.17


NO_NAMES: frozenset[str] = frozenset()
#: A certificate that has no more than that left expires soon.
SOON_S = 14 * 86400.0


@frozen
class Certificate:
    """``names`` are the DNS names (lower case, maybe with ``*.``) and addresses of the subjectAltName extension;
    clients have looked at nothing else since 2017. Dates in seconds since the epoch.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: bytes = b""  # SHA-256 of its DER


@frozen
class Served:
    """A certificate and the names that it is served for, in lower case."""

    file: str
    names: tuple[str, ...]
    certificate: Certificate

    def state(self, now: float) -> str:
        """How its dates stand at ``now``: "valid", "expires_soon", "expired" or "not_yet_valid"."""
        if self.certificate.not_after <= now:
            return "expired"
        if self.certificate.not_before > now:
            return "not_yet_valid"
        return "expires_soon" if self.certificate.not_after - now < SOON_S else "valid"


def client_names(peer: Mapping[str, Any] | None) -> frozenset[str]:
    """The names of a certificate that OpenSSL has verified, in lower case: all of its subjectAltName, and its common
    names. ``peer`` is what ``SSLObject.getpeercert`` gives; empty or None where there is none.
    """
    if not peer:
        return NO_NAMES
    names = [value for _, value in peer.get("subjectAltName", ()) if isinstance(value, str)]
    names += [value for rdn in peer.get("subject", ()) for key, value in rdn if key == "commonName"]
    return frozenset(name.lower() for name in names)


def read_certificate(pem: str) -> Certificate:
    """The first certificate of a PEM file: a chain begins with the server's own. ValueError where there is none."""
    begin = pem.find(_BEGIN)
    end = pem.find(_END, begin)
    if begin < 0 or end < 0:
        raise ValueError("no certificate in PEM form")
    return parse_certificate(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)]))


def parse_certificate(der: bytes) -> Certificate:
    """A certificate in DER form. ValueError where the bytes are none."""
    [(_, certificate)] = _only(_items(der), _SEQUENCE)
    fields = list(_items(_first(certificate, _SEQUENCE)))
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    if len(fields) < 6:
        raise ValueError("the certificate ends too early")
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    times = list(_items(fields[3][1]))
    if len(times) != 2:
        raise ValueError("the certificate's validity is broken")
    extensions = [value for tag, value in fields[6:] if tag == _EXTENSIONS]
    names = _names(extensions[0]) if extensions else ()
    return Certificate(tuple(names), _time(*times[0]), _time(*times[1]), hashlib.sha256(der).digest())


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (tag, content) pairs of a constructed value."""
    at = 0
    while at < len(data):
        if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
            raise ValueError("broken DER")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4:
                raise ValueError("broken DER")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("broken DER")
        yield tag, data[at : at + length]
        at += length


def _only(items: Iterator[tuple[int, bytes]], tag: int) -> list[tuple[int, bytes]]:
    found = list(items)
    if len(found) != 1 or found[0][0] != tag:
        raise ValueError("broken DER")
    return found


def _first(data: bytes, tag: int) -> bytes:
    for found, content in _items(data):
        if found != tag:
            break
        return content
    raise ValueError("broken DER")


def _names(extensions: bytes) -> Iterator[str]:
    for _, extension in _items(_first(extensions, _SEQUENCE)):
        parts = [part for part in _items(extension) if part[0] != _BOOLEAN]  # without ``critical``
        if len(parts) == 2 and parts[0] == (_OID, _SUBJECT_ALT_NAME) and parts[1][0] == _OCTET_STRING:
            for tag, value in _items(_first(parts[1][1], _SEQUENCE)):
                if tag == _DNS_NAME:
                    yield value.decode("ascii").lower()
                elif tag == _IP_ADDRESS:
                    yield str(ip_address(value))


def _time(tag: int, content: bytes) -> float:
    forms = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
    if tag not in forms:
        raise ValueError("the certificate's validity is broken")
    moment = datetime.strptime(content.decode("ascii"), forms[tag]).replace(tzinfo=UTC)
    if tag == _UTC_TIME and moment.year >= 2050:
        # RFC 5280 section 4.1.2.5.1: two digits of 50 and above are of the last century; strptime turns at 69.
        moment = moment.replace(year=moment.year - 100)
    return moment.timestamp()


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
    left = {"expired": "EXPIRED", "not_yet_valid": f"NOT VALID before {utc_day(one.certificate.not_before)}"}.get(
        one.state(now), show_days(end - now)
    )
    more = f" and {len(one.names) - _MAX_NAMED} more" if len(one.names) > _MAX_NAMED else ""
    return (
        f"{one.file}: {visible(', '.join(one.names[:_MAX_NAMED])) or 'no names'}{more}; until {utc_day(end)} ({left})"
    )


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
        yield Note("H501", f"the certificate has expired on {utc_day(end)}, so that no sender connects")
    elif state == "not_yet_valid":
        yield Note("H502", f"the certificate is not valid before {utc_day(begin)}, so that no sender connects")
    elif state == "expires_soon":
        yield Note("H503", f"the certificate expires in {show_days(end - now)}, on {utc_day(end)}")
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
