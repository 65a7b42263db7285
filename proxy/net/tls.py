"""TLS contexts: ours for the listeners, chosen by the name that a client asks for, and those towards upstreams.

Certificates are read again when their files change. A pair that cannot be used leaves the old one in force and is
reported: a renewal that goes wrong must not take the listener down. New contexts serve new connections; old
connections end as they began. TLS 1.2 (ECDHE and AEAD only) and 1.3, HTTP/1.1 only. No listener and no clock is known
here; the caller of :meth:`TlsContexts.watch` gives it the interval.

``check``, the start and ``/status`` say from here what the names and dates of served certificates are, and what is odd
about them. That they can be used at all is known when they are loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.host import visible
from proxy.config.problems import Note, audible
from proxy.config.settings import Settings
from proxy.core.policy import Policy, UpstreamTls
from proxy.errors import ConfigError, Problem
from proxy.http1 import utc_day
from proxy.net.beyond_ssl import Certificate, Served, ServerContext, read_certificate
from proxy.values import frozen

WATCH_INTERVAL_S = 5.0

_ALPN = ["http/1.1"]
#: What an agent speaks, where a relay has agents (``proxy.agent.talk``).
AGENT_PROTOCOL = "hookward-agent/1"

#: TLS 1.2 only; OpenSSL chooses among its own three for 1.3. Mozilla's "intermediate" without finite-field DHE.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

#: What a file was like when it was read: device, inode, size, time of last change in ns.
_Stamp = tuple[tuple[int, int, int, int] | None, ...]


#: What a PEM file of each kind has in it, whatever the kind of the key.
_KEY, _CERTIFICATE = "PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----"


class _EncryptedKeyError(Exception):
    """OpenSSL asked for the key's password, which we do not have."""


@frozen
class KeyPair:
    """One certificate to serve: paths of the chain and its key, and where the configuration says so.

    ``names`` are those to serve it for; empty: the names in the certificate. What is said of clients must be the same
    for all pairs: a connection is judged by the rule it began with, whatever name it then asks for.
    """

    cert: str
    key: str
    names: tuple[str, ...] = ()
    where: str = "tls"
    client_ca: str | None = None  # ask clients for a certificate of these authorities
    client_required: bool = False  # and let none in without
    agents: bool = False  # may connect, too


@frozen
class LoadedPair:
    """A pair in force."""

    pair: KeyPair
    certificate: Certificate
    context: ssl.SSLContext

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it is served for, in lower case."""
        return tuple(name.lower() for name in self.pair.names) or self.certificate.names

    @property
    def served(self) -> Served:
        """What is said of it."""
        return Served(self.pair.cert, self.names, self.certificate)


class TlsContexts:
    """The server's contexts. ``context`` is what a listener gives to a new connection; the name that the client then
    asks for (SNI) picks the certificate: the exact name, the wildcard one label up, or else the first of the list.

    Raises ConfigError with every problem of every pair.
    """

    def __init__(self, pairs: Sequence[KeyPair]) -> None:
        self._pairs = tuple(pairs)
        self._stamps: list[_Stamp] = []
        self.loaded: list[LoadedPair] = []
        problems: list[Problem] = []
        for pair in self._pairs:
            self._stamps.append(_stamp(pair))
            try:
                self.loaded.append(_load(pair))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        self._index()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self.loaded[0].context

    def choose(self, name: str | None) -> ssl.SSLContext:
        """The context for a name that a client asks for; None where it asks for none."""
        name = (name or "").lower().rstrip(".")
        found = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        return found or self.context

    def reload_changed(self) -> list[Problem]:
        """Read those pairs again whose files have changed since they were last looked at. Those that cannot be used
        stay as they are; returns why.
        """
        problems: list[Problem] = []
        for i, pair in enumerate(self._pairs):
            # Before the files are read: what changes meanwhile is seen as a change the next time.
            before, self._stamps[i] = self._stamps[i], _stamp(pair)
            if before != self._stamps[i]:
                try:
                    self.loaded[i] = _load(pair)
                except ConfigError as error:
                    problems += error.problems
        self._index()
        return problems

    async def watch(
        self,
        report: Callable[[list[Problem]], None],
        interval_s: float = WATCH_INTERVAL_S,
        *,
        renewed: Callable[[Served], None] = lambda _: None,
    ) -> None:
        """Look at the files for ever; ``report`` is told once of a bad change, ``renewed`` of a new certificate."""
        while True:
            await asyncio.sleep(interval_s)
            before = [one.served for one in self.loaded]
            if problems := self.reload_changed():
                report(problems)
            for one, old in zip(self.loaded, before, strict=True):
                if one.served != old:
                    renewed(one.served)

    def _index(self) -> None:
        self._by_name: dict[str, ssl.SSLContext] = {}
        for one in self.loaded:
            for name in one.names:
                self._by_name.setdefault(name, one.context)
            # Of each: a handshake that began with the old context ends with it.
            one.context.sni_callback = self._on_server_name

    def _on_server_name(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self.choose(name)


@lru_cache(maxsize=1)
def hush_server_names() -> None:
    """Say nothing of names that are no text, once and for the process.

    CPython decodes the name that a client asks for before it calls us, and where that fails it prints a traceback,
    which would let any client fill the log. The handshake fails with an alert, as it should, and is counted as such.
    """
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not UnicodeDecodeError or not isinstance(unraisable.object, bytes):
            before(unraisable)

    sys.unraisablehook = hook


def load_certificates(settings: Settings) -> TlsContexts | None:
    """The contexts of all certificates, or None without any. Raises ConfigError with every problem."""
    if not settings.tls:
        return None
    hush_server_names()
    return TlsContexts(
        [
            KeyPair(
                one.cert,
                one.key,
                one.names,
                str(one.where),
                one.client_ca,
                one.client_required,
                bool(settings.agents.rules),
            )
            for one in settings.tls
        ]
    )


def upstream_context(tls: UpstreamTls) -> ssl.SSLContext:
    """The context towards an ``https`` upstream: its certificate is verified, always, against the host's authorities
    or ``ca_file`` alone. The caller names the server. ConfigError where a file cannot be used.

    Cheap to ask before every dial: a context is made once, and again when one of its files has changed.
    """
    paths = (tls.ca_file, tls.cert_file, tls.key_file)
    return _upstream_context(tls, tuple(_file_stamp(path) if path else None for path in paths))


@lru_cache(maxsize=64)
def _upstream_context(tls: UpstreamTls, _: _Stamp) -> ssl.SSLContext:
    where = "upstream TLS"
    if tls.ca_file:
        _read(tls.ca_file, where)
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except ssl.SSLError:
        raise _problem(
            where, f"{tls.ca_file} holds no certificate", "put the authority's PEM certificate in it"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_ALPN)
    if tls.cert_file:
        _load_pair(context, KeyPair(tls.cert_file, tls.key_file or tls.cert_file, where=where))
    return context


def _load(pair: KeyPair) -> LoadedPair:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.num_tickets = 1  # OpenSSL's two, for clients that connect twice at once, cost each handshake 7 %
    context.set_alpn_protocols([*_ALPN, AGENT_PROTOCOL] if pair.agents else _ALPN)
    # Renegotiation lets a client spend our processor; compression tells the length of secrets (CRIME).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if pair.client_ca:
        _trust(context, pair.client_ca, pair.where)
        context.verify_mode = ssl.CERT_REQUIRED if pair.client_required else ssl.CERT_OPTIONAL
    certificate = _load_pair(context, pair)
    context.fingerprint = certificate.fingerprint
    return LoadedPair(pair, certificate, context)


def _trust(context: ssl.SSLContext, path: str, where: str) -> None:
    """Take the authorities of a PEM file as those of the other side. ConfigError where it has none."""
    _read(path, where)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise _problem(where, f"{path} holds no certificate", "put the authority's PEM certificate in it") from None


def _load_pair(context: ssl.SSLContext, pair: KeyPair) -> Certificate:
    """Put the pair into the context, and say what the certificate says. ConfigError where it cannot be used."""
    pem, key_pem = _read(pair.cert, pair.where), _read(pair.key, pair.where)
    _check_kinds(pair, pem, key_pem)
    try:
        certificate = read_certificate(pem)
    except ValueError as error:
        what, mend = f"{pair.cert}: {error}", "name the file of the PEM chain, the server's own first"
        raise _problem(pair.where, what, mend) from None
    try:
        context.load_cert_chain(pair.cert, pair.key, password=_no_password)
    except (_EncryptedKeyError, OSError) as error:  # ssl.SSLError is an OSError
        raise _problem(pair.where, *_unusable(pair, error)) from None
    return certificate


def _check_kinds(pair: KeyPair, pem: str, key_pem: str) -> None:
    """ConfigError where the files hold each what the other should."""
    if _CERTIFICATE not in key_pem or _KEY in key_pem:
        return
    if _CERTIFICATE in pem:
        what = f"{pair.key} holds a certificate, and no private key"
        raise _problem(pair.where, what, "name the file of the private key that it was issued for")
    if _KEY in pem:
        what = f"{pair.cert} holds a private key, and {pair.key} a certificate: they are swapped"
        raise _problem(pair.where, what, f'write cert = "{pair.key}" and key = "{pair.cert}"')


def _unusable(pair: KeyPair, error: Exception) -> tuple[str, str]:
    """What is wrong with a pair that OpenSSL does not take, and the mend."""
    if isinstance(error, _EncryptedKeyError):
        return f"{pair.key} is encrypted", "decrypt it (openssl pkey -in KEY -out KEY.pem) and guard it by its mode"
    if not isinstance(error, ssl.SSLError):
        why = error.strerror if isinstance(error, OSError) else error
        return f"{pair.key} cannot be read ({why})", "check that it stays in place"
    if "MISMATCH" in (error.reason or ""):
        return f"{pair.key} is not the key of {pair.cert}", "name the key that the certificate was issued for"
    why = error.reason or "no key in PEM form"
    return f"{pair.cert} and {pair.key} cannot be used ({why})", "name a PEM chain and its PEM private key"


def _no_password() -> str:
    # Without this, OpenSSL would ask on the terminal and the process would wait there.
    raise _EncryptedKeyError


def _read(path: str, where: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        raise _problem(where, f"{path} does not exist", "name the PEM file") from None
    except OSError as error:
        mend = "let the user that hookward runs as read it"
        raise _problem(where, f"{path} cannot be read ({error.strerror})", mend) from None


def _problem(where: str, what: str, mend: str) -> ConfigError:
    return ConfigError.of(where, what, mend)


def _stamp(pair: KeyPair) -> _Stamp:
    paths = [pair.cert, pair.key, *([pair.client_ca] if pair.client_ca else [])]
    return tuple(_file_stamp(path) for path in paths)


def _file_stamp(path: str) -> tuple[int, int, int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


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
