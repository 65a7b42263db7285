"""The agent itself, in the process that serves: its relays, and what becomes of a delivery that comes through one.

A connection that we have made serves as one that a client has made: the same parser, limits, relay and log, by the
policy of this process, whose upstreams are those of its own command line or file. So a relay can ask for nothing that
is not listed here. Its peer is trusted to name the client, for it has proved itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from proxy.agent.dial import Credential, DialError, Reached, dial
from proxy.agent.keys import JoinCode, Membership, MembershipFile, read_code
from proxy.agent.link import Backoff, RelayLink
from proxy.agent.talk import Challenge, Purpose, hold_fast
from proxy.config.settings import Dials, Loaded
from proxy.core.addresses import Peer
from proxy.core.policy import Endpoint, Exposure, HealthCheck
from proxy.errors import ConfigError, Mistake
from proxy.net.admission import ConnectionSlots
from proxy.net.client import ClientConnection
from proxy.net.endpoints import ask
from proxy.net.site import Site

log = logging.getLogger(__name__)

#: A probe that takes longer has not come through; the relay asks every five seconds.
PROBE_S = 4.0


class Agent:
    """The agent of one process. Raises ConfigError where it has joined no relay."""

    def __init__(self, site: Site, slots: ConnectionSlots, dials: Dials) -> None:
        self.guards = False
        self._site = site
        self._slots = slots
        self._dials = dials
        self._file = MembershipFile(dials.state_dir)
        self.links = [self._link(relay) for relay in dials.relays or tuple(self._file.found)]
        if not self.links:
            what = "has joined no relay yet"
            mend = "run `hookward enrol NAME` on the relay, and `hookward agent --join CODE` here"
            raise ConfigError.of(dials.state_dir, what, mend)
        self._tasks: list[asyncio.Task[None]] = []

    def _link(self, relay: str) -> RelayLink:
        member = self._file.of(relay)
        if member is None:
            what = f"has not joined the relay {relay}"
            mend = "run `hookward enrol NAME` there, and `hookward agent --join CODE` here"
            raise ConfigError.of(self._dials.state_dir, what, mend)
        return RelayLink(member, relay, instance(), self._dials, self)

    def use(self, loaded: Loaded) -> None:
        """Deliveries that come from now on are served by this policy."""
        self.guards = loaded.policy.exposure is Exposure.ROUTES

    def start(self) -> None:
        """Reach the relays, and keep them reached."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(link.run()) for link in self.links]
        for task in self._tasks:
            task.add_done_callback(_report)

    def drain(self) -> None:
        """Tell the relays that we leave; they send nothing more, and end what is idle."""
        for link in self.links:
            link.drain()

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(link.close() for link in self.links), return_exceptions=True)

    def unreached(self) -> list[str]:
        """Why no delivery can come, a line for each relay; empty when all is well."""
        return [
            f"relay {link.relay} is not reached{f': {link.trouble}' if link.trouble else ''}"
            for link in self.links
            if not link.is_reached
        ]

    def describe(self) -> list[dict[str, object]]:
        """How each relay is reached."""
        return [link.describe() for link in self.links]

    # -- for links

    def serve(self, reached: Reached, lost: Callable[[], None]) -> asyncio.Transport:
        """Serve a connection as one of a client; ``lost`` is called when it has ended."""
        transport = reached.transport
        hold_fast(transport)
        # No address: what a unix socket's peer is, which speaks for many and is trusted to name them.
        peer = Peer(reached.address, 0, 0, 0)
        slot = self._slots.take(self._site.policy, peer)

        def closed() -> None:
            if slot is not None:
                slot.release()
            lost()

        connection = ClientConnection(self._site, peer, secure=True, on_close=closed, kind=self._site.kind)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return transport

    async def probe(self, path: str) -> str:
        """Ask the application: "ok" where one of its endpoints answers, or a word for what came of it.

        Where deliveries are judged here, a relay's word is not enough to reach any path: then ours alone is asked.
        """
        endpoints = sorted(self._site.policy.endpoints(), key=str)
        words = [await self._ask(endpoint, path) for endpoint in endpoints]
        return "ok" if "ok" in words else (words or ["no_upstream"])[0]

    async def _ask(self, endpoint: Endpoint, path: str) -> str:
        if endpoint.health is not None:
            path = endpoint.health.path
        elif self._dials.health:
            path = self._dials.health
        elif self.guards:
            path = "-"
        if path == "-":
            return await self._connects(endpoint)
        status = await ask(self._site.pool, endpoint, HealthCheck(path, PROBE_S, PROBE_S))
        if not status:
            return "no_answer"
        return "ok" if status < 400 else f"status_{status}"

    async def _connects(self, endpoint: Endpoint) -> str:
        try:
            async with asyncio.timeout(PROBE_S):
                connection = await self._site.pool.open(endpoint)
        except (OSError, UnicodeError, ConfigError):
            return "unreachable"
        connection.close()
        return "ok"

    def renewed(self, relay: str, certificates: tuple[str, ...]) -> None:
        """The relay shows these certificates from now on."""
        for link in self.links:
            if link.relay == relay and set(certificates) != set(link.membership.certificates):
                link.membership = replace(link.membership, certificates=certificates)
                try:
                    self._file.keep(replace(link.membership, relay=relay), self._site.clock.wall())
                except OSError as error:
                    log.warning("the relay's new certificate cannot be kept in %s: %s", self._dials.state_dir, error)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (bug := task.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler({"message": "a relay is given up", "exception": bug})


def instance() -> str:
    """A name of this process that no other has: the host's, and something at random."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname().partition(".")[0])[:40] or "host"
    return f"{host}-{secrets.token_hex(3)}"


# -- Joining a relay by a one-time code: once, before anything is served.


async def join_all(dials: Dials, wall: Callable[[], float]) -> None:
    """Join by every code that has not been used by us. Where the network does not let us, it is tried again for as long
    as it takes. Raises ConfigError where a relay does not take its code.
    """
    for text in dials.join:
        try:
            code = read_code(text)
        except Mistake as mistake:
            raise ConfigError.of("--join", mistake.what, mistake.mend) from None
        await _join(code, dials, wall)


async def _join(code: JoinCode, dials: Dials, wall: Callable[[], float]) -> None:
    relay = code.address or (dials.relays[0] if dials.relays else "")
    if len(dials.join) == 1 and dials.relays:
        relay = dials.relays[0]  # said here, it is nearer to the truth
    if not relay:
        mend = "add --relay HOST:PORT"
        raise ConfigError.of("--join", "the code does not say where the relay is", mend)
    file = MembershipFile(dials.state_dir)
    before = file.found.get(relay)
    # Started again with the same command. Whether the relay has heard us out the first time, only it knows.
    if before is not None and before.mark == code.mark() and await _is_known(before, dials):
        return

    def keep(challenge: Challenge) -> None:
        # Before our proof: the relay may be gone before its answer is here, and then the key is good already.
        pins = (code.certificate.hex(), challenge.certificate.hex())
        member = Membership(relay, code.name, challenge.agent_key(), tuple(dict.fromkeys(pins)), code.mark())
        try:
            file.keep(member, wall())
        except OSError as error:
            mend = "name a folder of yours with --state-dir"
            what = f"the key cannot be kept there: {error.strerror}"
            raise ConfigError.of(dials.state_dir, what, mend) from None

    credential = Credential(Purpose.JOIN, code.name, instance(), code.key(), (code.certificate.hex(),))
    reached = await _until_reached(relay, credential, dials, keep)
    reached.close()
    log.info("joined relay %s as %r", relay, code.name)


async def _until_reached(
    relay: str, credential: Credential, dials: Dials, keep: Callable[[Challenge], None]
) -> asyncio.Transport:
    backoff = Backoff(random.uniform)
    told = ""
    while True:
        began = monotonic()
        try:
            return (await dial(relay, credential, dials, keep)).transport
        except DialError as error:
            if error.refused:
                mend = "run `hookward enrol` there again, for a new code"
                raise ConfigError.of(f"relay {relay}", str(error), mend) from None
            if told != str(error):
                told = str(error)
                log.warning("relay %s cannot be reached: %s", relay, error)
            await asyncio.sleep(max(0.0, began + backoff.failed(began) - monotonic()))


async def _is_known(member: Membership, dials: Dials) -> bool:
    """Whether the relay takes the key that we have; where it cannot be reached, it will be asked for ever later."""
    credential = Credential(Purpose.SERVE, member.name, instance(), member.key, member.certificates)
    try:
        (await dial(member.relay, credential, dials)).transport.close()
    except DialError as error:
        return not error.refused
    return True
