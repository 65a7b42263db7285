"""A relay's part and an agent's, over real connections: what joins, what is lent, what grows, what ends."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

import pytest

from proxy.agent.dial import Credential, DialError, dial
from proxy.agent.keys import MembershipFile
from proxy.agent.link import RelayLink
from proxy.agent.roster import MAX_HELLOS_OF_ADDRESS
from proxy.agent.serve import Agent, join_all
from proxy.agent.session import Session
from proxy.agent.talk import Hello, Purpose, to_text
from proxy.core.addresses import AddressSet
from proxy.errors import ConfigError
from proxy.net.tls import AGENT_PROTOCOL
from proxy.net.upstream import UpstreamConnection
from tests.agent.meeting import CI, KEY, Meeting, meeting, until
from tests.net.conftest import Run


def session_of(one: Meeting) -> Session:
    [session] = one.roster._sessions.values()
    return session


async def reached(one: Meeting, count: int = 4) -> Session:
    await until(lambda: one.site.pool.idle_connections() >= count, "not enough connections")
    return session_of(one)


async def joined(one: Meeting, count: int = 4) -> tuple[Agent, Session]:
    """An agent with its key, and so many connections."""
    one.keep_key()
    one.member()
    agent = one.agent()
    return agent, await reached(one, count)


Dialogue = Callable[..., Coroutine[Any, Any, None]]


def on_sockets(**options: Any) -> Callable[[Dialogue], Dialogue]:
    """Make of a dialogue with a relay a test; ``options`` are those of the relay's policy."""

    def made(dialogue: Dialogue) -> Dialogue:
        async def test(run: Run[None], tmp_path: Path, **words: Any) -> None:
            async with meeting(tmp_path, **options) as one:
                await dialogue(one, **words)

        # What pytest has to give: all that the dialogue asks for but the relay, and what makes that.
        asked = list(signature(dialogue).parameters.values())[1:]
        ours = [each for each in signature(test).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        functools.update_wrapper(test, dialogue)
        vars(test)["__signature__"] = Signature([*ours, *asked])
        return test

    return made


def credential(one: Meeting, key: bytes = KEY, name: str = "ci", kind: Purpose = Purpose.SERVE) -> Credential:
    return Credential(kind, name, "test-1", key, (one.fingerprint.hex(),))


@on_sockets()
async def test_a_code_is_joined_by_and_the_key_serves(one: Meeting) -> None:
    code = one.code()
    dials = one.dials(join=(code.write(),))
    await join_all(dials, one.site.clock.wall)
    member = MembershipFile(dials.state_dir).found[one.address]
    assert (member.name, member.certificates) == ("ci", (one.fingerprint.hex(),))
    assert one.roster.shelf.key("ci") == member.key != code.key()
    one.agent()
    await reached(one)
    await join_all(dials, one.site.clock.wall)  # the same command again
    with pytest.raises(ConfigError, match="it does not accept the code"):
        await join_all(replace(dials, state_dir=str(one.folder / "other")), one.site.clock.wall)


@on_sockets()
async def test_a_code_whose_time_is_over(one: Meeting) -> None:
    dials = one.dials(join=(one.code(until=1.0).write(),))
    with pytest.raises(ConfigError, match="has expired"):
        await join_all(dials, one.site.clock.wall)


@on_sockets()
async def test_connections_are_lent_given_on_and_grow_with_use(one: Meeting) -> None:
    one.use(idle=2, most=6)
    _, session = await joined(one, 2)
    [endpoint] = one.roster.among((CI,))
    assert (endpoint.agent, endpoint.host) == ("ci", session.terms.instance)
    lent: list[UpstreamConnection] = []
    for _ in range(6):
        found = one.site.pool.acquire((CI,))
        lent.append(found if found is not None else await one.site.pool.open(endpoint))
    assert len(session.connections) == 6
    assert one.roster.lent(session) == 6
    waits = asyncio.ensure_future(one.site.pool.open(endpoint))
    await until(lambda: session.waiters, "nobody waits")
    one.roster.released(lent[0])
    assert await waits is lent[0], "it goes to who waits, not to the pool"
    for connection in lent:
        one.roster.released(connection)
    assert one.site.pool.idle_connections() == 6
    assert one.roster.lent(session) == 0


@on_sockets()
async def test_who_gives_up_waiting_takes_no_connection_along(one: Meeting) -> None:
    one.use(idle=1, most=2)
    _, session = await joined(one, 1)
    [endpoint] = one.roster.among((CI,))
    lent = [one.site.pool.acquire((CI,)), await one.site.pool.open(endpoint)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await one.site.pool.open(endpoint)
    assert not session.waiters
    for connection in lent:
        assert connection is not None
        one.roster.released(connection)
    assert (one.roster.lent(session), one.site.pool.idle_connections()) == (0, 2)


@on_sockets()
async def test_a_probe_tells_how_the_application_is(one: Meeting) -> None:
    agent, session = await joined(one)
    await until(lambda: session.is_failing, "no probe was answered")
    [row] = one.relay.describe()
    assert isinstance(row["processes"], list)
    assert row["processes"][0]["probe"] == "unreachable"
    assert not session.is_alive(one.site.clock.now())
    assert one.roster.alive() == {"ci": 0}
    assert agent.unreached() == []
    assert agent.describe()[0]["reached"] is True


@on_sockets()
async def test_a_key_that_goes_ends_everything(one: Meeting) -> None:
    agent, _ = await joined(one)
    lent = one.site.pool.acquire((CI,))
    assert lent is not None
    one.keep_key(bytes(32))
    await until(lambda: not one.roster.among((CI,)), "it is still there")
    assert one.site.pool.idle_connections() == one.site.pool.lent_connections() == 0
    await until(agent.unreached, "the agent believes that it is there")
    await until(lambda: "does not know the key" in agent.unreached()[0], "the agent does not say why")
    await until(lambda: "agent ci: it has another key" in one.noted, "the relay does not say why")


@on_sockets()
async def test_a_relay_that_leaves_keeps_what_it_has(one: Meeting) -> None:
    agent, _ = await joined(one)
    one.relay.drain()
    await until(agent.unreached, "the agent has not heard")
    assert len(session_of(one).connections) >= 4


@on_sockets()
async def test_an_agent_that_leaves_is_asked_for_nothing_more(one: Meeting) -> None:
    agent, _ = await joined(one)
    lent = one.site.pool.acquire((CI,))
    assert lent is not None
    agent.drain()
    await until(lambda: not one.roster.among((CI,)), "it is still used")
    await until(lambda: one.site.pool.idle_connections() == 0, "idle connections are kept")
    assert one.site.pool.lent_connections() == 1, "what is under way ends in its own time"
    lent.abort()
    assert one.site.pool.lent_connections() == 0


@on_sockets()
async def test_renewed_certificates_are_known_before_they_are_shown(one: Meeting) -> None:
    agent, _ = await joined(one)
    one.roster.tell_certificates([bytes(32), one.fingerprint])
    file = one.folder / "agent"
    await until(lambda: MembershipFile(str(file)).found[one.address].certificates[0] == "00" * 32, "not written down")
    assert agent.links[0].membership.certificates == ("00" * 32, one.fingerprint.hex())


@pytest.mark.parametrize("name", ["ci", "nobody"])
@on_sockets()
async def test_who_has_not_the_key_learns_nothing(one: Meeting, name: str) -> None:
    """Not even whether there is an agent of that name."""
    one.keep_key()
    with pytest.raises(DialError, match=f"it does not know the key of agent '{name}'") as error:
        await dial(one.address, credential(one, bytes(32), name), one.dials())
    assert error.value.refused
    assert KEY.hex() not in str(error.value)


@on_sockets()
async def test_an_agent_may_come_only_from_where_it_is_let_in(one: Meeting) -> None:
    one.keep_key()
    one.rules["ci"] = replace(one.rules["ci"], allow=AddressSet.parse(["192.0.2.1"]))
    one.use()
    with pytest.raises(DialError, match="may not connect from here"):
        await dial(one.address, credential(one), one.dials())


@on_sockets()
async def test_a_certificate_that_is_not_known_is_refused_before_a_word(one: Meeting) -> None:
    one.keep_key()
    other = replace(credential(one), certificates=("00" * 32,))
    with pytest.raises(DialError, match="no authority vouches") as error:
        await dial(one.address, other, one.dials())
    assert error.value.refused
    assert one.noted == []


async def raw(one: Meeting, *lines: bytes, alpn: str = AGENT_PROTOCOL, newest: int = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What the relay answers to bytes of a stranger, until it closes."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion(newest)
    context.set_alpn_protocols([alpn])
    host, port = one.address.split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        try:
            writer.write(b"".join(lines))
            return await reader.read()
        finally:
            writer.close()
    except ConnectionError:
        return b""


HELLO = Hello(Purpose.SERVE, "ci", "a-1", bytes(32)).write()
PROOF = f"AGENT {to_text(bytes(32))}\n".encode()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((b"GET / HTTP/1.1\r\n\r\n",), "agent an unknown name: line_malformed"),
        ((b"x" * 600,), "agent an unknown name: line_too_long"),
        ((HELLO.replace(b"HELLO 1", b"HELLO 2"),), "agent an unknown name: version_unknown"),
        ((HELLO, HELLO), "agent ci: agent_expected"),
        ((HELLO, PROOF), "agent ci: key refused"),
        ((HELLO.replace(b" ci ", b" evil "), PROOF), "agent an unknown name: key refused"),
    ],
)
@on_sockets()
async def test_what_strangers_say_ends_in_our_words(one: Meeting, lines: tuple[bytes, ...], said: str) -> None:
    one.keep_key()
    await raw(one, *lines)
    await until(lambda: one.closed, "the slot is not given back")
    assert one.noted == [said]
    assert one.roster.among((CI,)) == ()


@on_sockets()
async def test_a_proof_that_was_heard_is_good_for_nothing(one: Meeting) -> None:
    """A replay of what a good agent said, word for word: the relay's number is another one."""
    one.keep_key()
    good = await dial(one.address, credential(one), one.dials())
    challenge = good.challenge
    good.transport.close()
    said = f"AGENT {to_text(challenge.agent_proof())}\n".encode()
    answer = await raw(one, challenge.hello.write(), said)
    assert answer.split(b"\n")[1] == b"REFUSED key_refused"


@on_sockets()
async def test_older_tls_is_not_spoken_to_agents(one: Meeting) -> None:
    one.keep_key()
    assert await raw(one, HELLO, newest=ssl.TLSVersion.TLSv1_2) == b""
    await until(lambda: one.noted == ["agent an unknown name: TLS before 1.3"], "it was answered")


@on_sockets()
async def test_a_client_goes_on_as_a_client(one: Meeting) -> None:
    assert await raw(one, alpn="http/1.1") == b"a client\n"
    await until(lambda: one.closed == 1, "not closed once")


@on_sockets(allow=AddressSet.parse(["192.0.2.1"]))
async def test_where_only_agents_may_come_from_a_client_is_reset(one: Meeting) -> None:
    assert await raw(one, b"GET / HTTP/1.1\r\n\r\n", alpn="http/1.1") == b""
    await until(lambda: one.closed == 1, "the slot is not given back")
    assert one.slots.counters.refused_address == 1


@on_sockets()
async def test_so_many_hellos_at_once_and_no_more_of_one_address(one: Meeting) -> None:
    one.keep_key()
    silent = [asyncio.ensure_future(raw(one)) for _ in range(MAX_HELLOS_OF_ADDRESS + 1)]
    await until(lambda: "agent an unknown name: too many hellos at once" in one.noted, "all of them are heard")
    for task in silent:
        task.cancel()
    await asyncio.gather(*silent, return_exceptions=True)
    await until(lambda: one.closed == MAX_HELLOS_OF_ADDRESS + 1, "slots are kept")
    (await dial(one.address, credential(one), one.dials())).transport.close()


@on_sockets()
async def test_a_connection_without_a_session_is_closed(one: Meeting) -> None:
    one.keep_key()
    found = await dial(one.address, credential(one), one.dials())
    ended = asyncio.get_running_loop().create_future()

    class Ear(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set_result(None)

    found.transport.set_protocol(Ear())
    found.transport.write(b"DATA\n")
    await ended
    assert one.site.pool.idle_connections() == 0


@on_sockets()
async def test_a_link_asks_for_what_is_missing_and_no_more(one: Meeting) -> None:
    agent, _ = await joined(one)
    link: RelayLink = agent.links[0]
    assert (link.missing(), link.is_reached) == (0, True)
    link.wants("0000beef", 5000)
    assert link.workers["0000beef"].wanted == 1024, "an attacker's word has a bound"
    link.wants("0000beef", 4)
    link.expected = 3
    assert link.missing() == 2
    link.expected = 1


@on_sockets()
async def test_a_relay_that_is_not_there_is_said_once(one: Meeting) -> None:
    one.address = "127.0.0.1:1"
    one.member()
    agent = one.agent()
    await until(lambda: "Connection refused" in agent.unreached()[0], "not tried")
