"""Joining a relay by a one-time code: once, before anything is served."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic

from proxy.agent.dial import Credential, DialError, dial
from proxy.agent.hello import Challenge, Purpose
from proxy.agent.keys import JoinCode, Membership, MembershipFile, read_code
from proxy.agent.pulse import Backoff
from proxy.agent.serve import instance
from proxy.config.settings import Dials
from proxy.errors import ConfigError, Mistake

log = logging.getLogger(__name__)


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
