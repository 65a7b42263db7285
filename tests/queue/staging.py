"""A courier with a real loop, a real store and a real application on a socket, and deliveries without a sender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.config.settings import QueueSettings
from proxy.core.delivery import Deliver, DeliveryRule, RetryRule
from proxy.core.metrics import Metrics
from proxy.core.policy import BodyMode, Endpoint, Route
from proxy.core.record import ExchangeRecord
from proxy.net.site import Site
from proxy.queue.courier import Courier
from proxy.queue.opening import OpenStore, open_store
from proxy.queue.records import Parcel, Taken
from tests import policies
from tests.queue.conformance import MAX_BYTES

RULE = DeliveryRule(Deliver.QUEUE, retry=RetryRule(first_s=0.02, most_s=0.05, for_s=60.0))
PATIENCE_S = 20.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: int, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Word\r\nContent-Length: 0\r\n%b\r\n" % (status, extra)


@dataclass
class Application:
    """Takes requests, and answers what it is told to: ``answers`` in order, then the last of them for ever."""

    answers: list[bytes] = field(default_factory=lambda: [OK])
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    server: asyncio.Server | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: Callable[[], None] = lambda: None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in list(self.writers):
            writer.close()
        while self.writers:  # noqa: ASYNC110 - the transports tell nobody
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or b"0")
                body = await reader.readexactly(length)
                self.requests.append(head + body)
                self.asked()
                said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                self.changed.set()
                if not said:
                    break
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.writers.discard(writer)

    @property
    def bodies(self) -> list[bytes]:
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]


@dataclass
class Stage:
    """What a test of the courier acts on."""

    site: Site
    opened: OpenStore
    courier: Courier
    application: Application
    route: Route
    records: list[ExchangeRecord]
    gone: list[Taken]

    def write(self, record: ExchangeRecord) -> None:
        self.records.append(record)

    async def keep(self, *names: str, body: bytes = b"body", order: str = "", age_s: float = 0.0) -> None:
        now = self.site.clock.wall() - age_s
        for name in names:
            content = body.replace(b"NAME", name.encode())
            head = b"POST /hook HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(content)
            await self.opened.store.append([Parcel(name, "hook", now, head, content, len(content), {}, order)])
        self.courier.arrived("hook")

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - what is waited for is another's, and tells nobody
                await asyncio.sleep(0.005)

    async def until_empty(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sum(count.live for count in await self.opened.store.counts()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)

    @property
    def outcomes(self) -> list[str]:
        return [record.outcome for record in self.records]


@asynccontextmanager
async def staged(folder: Path, rule: DeliveryRule = RULE, **changed: object) -> AsyncIterator[Stage]:
    """A stage whose courier has begun; all of it is closed at the end."""
    application = Application()
    await application.open()
    endpoint = Endpoint("127.0.0.1", application.port)
    route = policies.route(upstream=(endpoint,), delivery=rule, body=BodyMode.HOLD, **changed)
    loop = asyncio.get_running_loop()
    records: list[ExchangeRecord] = []
    gone: list[Taken] = []

    class Log:
        def write(self, record: ExchangeRecord) -> None:
            records.append(record)

    site = Site(loop=loop, policy=policies.policy(route), log=Log(), metrics=Metrics(), instance="test")
    opened = open_store(QueueSettings(path=str(folder), max_bytes=MAX_BYTES), loop)
    courier = Courier(site, opened.store, lock=opened.lock, max_age_s=3600.0, gone=gone.append, chance=lambda: 0.5)
    courier.start()
    stage = Stage(site, opened, courier, application, route, records, gone)
    try:
        await stage.until(lambda: courier.is_active)
        yield stage
    finally:
        await courier.stop()
        await opened.close()
        await site.pool.close()
        await application.close()
        site.clock.close()


def another_courier(stage: Stage) -> Courier:
    """A second courier of the same store, which has begun."""
    lock, gone = stage.opened.lock, stage.gone.append
    courier = Courier(stage.site, stage.opened.store, lock=lock, max_age_s=3600.0, gone=gone, chance=lambda: 0.5)
    courier.start()
    return courier


def with_rule(**changed: object) -> DeliveryRule:
    return replace(RULE, **changed)
