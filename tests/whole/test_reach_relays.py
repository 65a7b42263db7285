"""More than one relay, a relay whose certificate is another one, and routes that keep while the agent is away."""

from __future__ import annotations

import shutil
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
import trustme

from tests.whole.conftest import Certificates
from tests.whole.process import Hookward
from tests.whole.reach import Reach
from tests.whole.recorder import Manner, RecordingUpstream
from tests.whole.wire import PATIENCE_S

Make = Callable[..., Reach]
Start = Callable[..., Hookward]
KEEPS = 'deliver = "queue"\nretry = { first = "100ms", most = "200ms" }'


@pytest.fixture
def relay(start: Start, tmp_path: Path, certificates: Certificates) -> Iterator[Make]:
    """Makes relays, each in a folder of its own."""
    made: list[Reach] = []

    def make(name: str, shown: Certificates = certificates, **parts: str) -> Reach:
        (tmp_path / name).mkdir()
        made.append(Reach(start, tmp_path / name, shown, **parts))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert monotonic() < deadline, what
        pause.wait(0.05)


def other_certificate(folder: Path, certificates: Certificates) -> tuple[Certificates, Path]:
    """One that is not the first's, and the file of the authority that vouches for it."""
    authority, issued = folder / "authority.pem", folder / "other.pem"
    made = trustme.CA()
    made.cert_pem.write_to_path(str(authority))
    made.issue_cert("127.0.0.1", "hooks.example.com").private_key_and_cert_chain_pem.write_to_path(str(issued))
    issued.chmod(0o600)
    client = ssl.create_default_context(cafile=str(authority))
    return replace(certificates, cert=issued, key=issued, client=client), authority


def share_key(one: Reach, other: Reach) -> None:
    """The administrator copies the agent's key from one relay to the other."""
    (other.folder / "agents").mkdir(mode=0o700)
    shutil.copy(one.folder / "agents" / "ci.key", other.folder / "agents" / "ci.key")


def test_two_relays_with_a_code_each(relay: Make, start: Start, upstream: RecordingUpstream) -> None:
    """Either is enough; one that comes back is found again."""
    one, two = relay("one"), relay("two")
    agent = one.agent("--join", two.enrol(), "--upstream", upstream.url)
    assert agent.said("is reached as", 2)
    assert (one.deliver(name="first").status, two.deliver(name="second").status) == (200, 200)
    assert (one.folder / "agents" / "ci.key").read_bytes() != (two.folder / "agents" / "ci.key").read_bytes()
    port = one.relay.port
    assert one.relay.stop() == 0
    assert two.deliver(name="third").status == 200
    one.config.write_text(one.config.read_text().replace('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{port}"]'))
    one.relay = start("--config", one.config, listeners=2)
    assert agent.said("is reached as", 3)
    assert one.deliver(name="fourth").status == 200
    again = [got.get(b"X-GitHub-Delivery") for got in upstream.complete]
    assert again == [b"first", b"second", b"third", b"fourth"]
    assert agent.stop() == 0
    # At its next start it reaches all that it has joined.
    assert one.again("--upstream", upstream.url).said("is reached as", 2)


def test_two_relays_share_a_key(relay: Make, upstream: RecordingUpstream) -> None:
    one = relay("one")
    one.agent("--upstream", upstream.url).stop()
    two = relay("two")
    share_key(one, two)
    agent = one.again("--relay", one.address, "--relay", two.address, "--upstream", upstream.url)
    assert agent.said("is reached as", 2)
    assert (one.deliver().status, two.deliver().status) == (200, 200)
    # To revoke at one says nothing to the other.
    (two.folder / "agents" / "ci.key").unlink()
    assert two.relay.said("its key is no longer good")
    assert (one.deliver().status, two.deliver().word) == (200, "agent_away")


def test_an_authority_vouches_for_another_certificate(
    relay: Make, upstream: RecordingUpstream, certificates: Certificates, tmp_path: Path
) -> None:
    """Of the second of two relays that share a key. Once reached its certificate is known, and needs no authority."""
    shown, authority = other_certificate(tmp_path, certificates)
    one = relay("one")
    one.agent("--upstream", upstream.url).stop()
    two = relay("two", shown)
    share_key(one, two)
    relays = ("--relay", one.address, "--relay", two.address)
    stranger = one.again(*relays, "--upstream", upstream.url)
    assert stranger.said("no authority vouches for it")
    assert stranger.said("is reached as")
    assert (one.deliver().status, two.deliver().word) == (200, "agent_away"), "one does not wait for the other"
    stranger.stop()
    agent = one.again(*relays, "--relay-ca", authority, "--upstream", upstream.url)
    assert agent.said("is reached as", 2)
    assert two.deliver().status == 200
    agent.stop()
    assert one.again(*relays, "--upstream", upstream.url).said("is reached as", 2)


def test_an_authority_opens_nothing_alone(
    relay: Make, upstream: RecordingUpstream, certificates: Certificates, tmp_path: Path
) -> None:
    """It vouches for a relay that has not the key: that cannot prove itself, and is told nothing."""
    shown, authority = other_certificate(tmp_path, certificates)
    one = relay("one")
    one.agent("--upstream", upstream.url).stop()
    two = relay("two", shown)
    agent = one.again("--relay", two.address, "--relay-ca", authority, "--upstream", upstream.url)
    assert agent.said("it does not know the key of agent 'ci'")
    assert "is reached as" not in agent.err.text


def test_a_certificate_for_another_name_is_refused(
    relay: Make, upstream: RecordingUpstream, certificates: Certificates, tmp_path: Path
) -> None:
    shown, authority = other_certificate(tmp_path, certificates)
    made = trustme.CA()
    made.cert_pem.write_to_path(str(authority))
    made.issue_cert("elsewhere.example.com").private_key_and_cert_chain_pem.write_to_path(str(shown.cert))
    one = relay("one")
    one.agent("--upstream", upstream.url).stop()
    two = relay("two", shown)
    share_key(one, two)
    agent = one.again("--relay", two.address, "--relay-ca", authority, "--upstream", upstream.url)
    assert agent.said("no authority vouches for it")


def test_what_was_kept_is_delivered_when_the_agent_is_back(relay: Make, upstream: RecordingUpstream) -> None:
    one = relay("one", route=KEEPS)
    first = one.deliver(b'{"n": 1}', name="before-any")
    assert (first.status, first.word) == (202, "accepted"), "nothing that it needs is away"
    agent = one.agent("--upstream", upstream.url)
    [got] = upstream.wait_complete()
    assert agent.stop() == 0
    assert (got.get(b"X-GitHub-Delivery"), got.content) == (b"before-any", b'{"n": 1}')
    for number in range(5):
        assert one.deliver(b'{"n": %d}' % number, name=f"away-{number}").status == 202
    assert len(upstream.complete) == 1
    one.again("--upstream", upstream.url)
    upstream.wait_complete(6)
    attempts = one.relay.logged({"event.name": "hookward.attempt", "webhook.outcome": "delivered"}, 6)
    assert max(line["webhook.attempt"] for line in attempts) <= 2, "they wait for it, and are not tried meanwhile"
    assert {got.get(b"X-GitHub-Delivery") for got in upstream.complete[1:]} == {b"away-%d" % n for n in range(5)}


def test_a_queue_loses_nothing_of_an_agent_that_is_killed(relay: Make, upstream: RecordingUpstream) -> None:
    """Its application has the delivery, and its answer goes nowhere: it comes once more, to the next agent."""
    one = relay("one", route=KEEPS)
    upstream.manner = Manner(gate=threading.Event())
    agent = one.agent("--upstream", upstream.url)
    assert one.deliver(name="kept").status == 202
    upstream.wait_complete()
    agent.process.send_signal(signal.SIGKILL)
    agent.wait()
    upstream.manner = Manner()
    one.again("--upstream", upstream.url)
    again = upstream.wait_complete(2)[-1]
    assert again.get(b"X-GitHub-Delivery") == b"kept"
    assert int(again.get(b"Webhook-Attempt") or b"0") > 1


def test_a_fallback_keeps_for_an_agent_that_is_away(relay: Make, upstream: RecordingUpstream) -> None:
    one = relay("one", route=KEEPS.replace("queue", "fallback"))
    agent = one.agent("--upstream", upstream.url)
    assert one.deliver(name="direct").status == 200
    assert agent.stop() == 0
    assert one.deliver(name="kept").status == 202
    one.again("--upstream", upstream.url)
    assert upstream.wait_complete(2)[-1].get(b"X-GitHub-Delivery") == b"kept"
