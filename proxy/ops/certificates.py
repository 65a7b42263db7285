"""The certificates in force: loaded with the configuration, watched for renewals, exchanged by a reload."""

from __future__ import annotations

import asyncio
from ssl import PROTOCOL_TLS_SERVER, SSLContext, SSLObject, TLSVersion

from proxy.core.metric_families import CERTIFICATE_EXPIRY
from proxy.core.metrics import Metrics
from proxy.errors import Problem
from proxy.net.certificate import Served, sentence
from proxy.net.clock import Clock
from proxy.net.tls import TlsContexts
from proxy.ops.journal import log, problem_lines


class Certificates:
    """What listeners hold instead of the contexts, so that a reload reaches them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._contexts: TlsContexts | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def context(self) -> SSLContext:
        """The context for the next connection."""
        assert self._contexts is not None, "a listener with TLS is opened only where there are certificates"
        return self._contexts.context

    def lasting_context(self) -> SSLContext:
        """One that serves the certificates in force, also those that come later."""
        assert self._contexts is not None, "as above"
        first = self._contexts.loaded[0].pair
        context = SSLContext(PROTOCOL_TLS_SERVER)
        context.minimum_version = TLSVersion.TLSv1_2
        context.load_cert_chain(first.cert, first.key)

        def choose(connection: SSLObject, name: str | None, _: SSLContext) -> None:
            if self._contexts is not None:
                connection.context = self._contexts.choose(name)

        context.sni_callback = choose
        return context

    @property
    def served(self) -> list[Served]:
        """Those in force."""
        return [] if self._contexts is None else [one.served for one in self._contexts.loaded]

    def measure(self, metrics: Metrics) -> None:
        """Set the gauge of their ends."""
        metrics.replace(CERTIFICATE_EXPIRY, {(one.file,): one.certificate.not_after for one in self.served})

    def use(self, contexts: TlsContexts | None) -> None:
        """Serve new connections with these from now on, and look for renewals of their files. None ends both."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._contexts = contexts
        if contexts is not None:
            self._watch = self._loop.create_task(contexts.watch(_report, renewed=_renewed))


def _renewed(one: Served) -> None:
    log.info("certificate %s, taken over from its file", sentence(one, Clock.wall()))


def _report(problems: list[Problem]) -> None:
    log.error("a certificate has changed and cannot be used, the old one stays:\n%s", problem_lines(problems))
