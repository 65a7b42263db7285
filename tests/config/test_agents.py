"""Agents in the configuration: a route and its agent name each other, and an agent's load listens on nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.config import agents, keys
from proxy.config.describe import describe
from proxy.config.load import load_namespace, parse_flags
from proxy.config.settings import Dials
from proxy.core.addresses import AddressSet, Peer
from proxy.core.policy import Exposure
from proxy.core.signing.scheme import encode_base64url
from proxy.errors import ConfigError
from proxy.ops.banner import guards

RELAY = """
listen = ["127.0.0.1:0"]
[tls]
cert = "cert.pem"
key = "cert.pem"
[agent.ci]
key = "file:ci.key"
routes = ["github"]
[route.github]
path = "/github"
provider = "github"
secrets = ["file:secret"]
upstream = "agent:ci"
"""
DIALS = Dials("/var/lib/hookward")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    for name in ("cert.pem", "secret"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o600)
    (tmp_path / "secret").write_text("a secret of sixteen bytes")
    return tmp_path


def loaded(folder: Path, text: str, **options: Any) -> Any:
    (folder / "hookward.toml").write_text(text)
    return load_namespace(parse_flags(["--config", str(folder / "hookward.toml")]), {}, **options)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(folder, text)
    return str(error.value)


def test_every_key_says_what_it_is_for() -> None:
    assert all(key.doc.endswith(".") for key in (*keys.AGENT, *keys.AGENTS))


def test_a_route_and_its_agent(folder: Path) -> None:
    found = loaded(folder, RELAY)
    rule = found.settings.agents.rules["ci"]
    assert (rule.name, rule.routes, rule.key_path) == ("ci", {"github"}, f"{folder}/ci.key")
    assert (found.settings.agents.idle, found.settings.agents.most) == (4, 64)
    [endpoint] = found.policy.routes[0].upstream
    assert (str(endpoint), endpoint.secure, endpoint.verifies) == ("agent:ci", True, False)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('routes = ["github"]', "", "agent 'ci' does not serve the route 'github'"),
        ('routes = ["github"]', 'routes = ["github", "gitlab"]', "there is no route 'gitlab'"),
        ('upstream = "agent:ci"', 'upstream = "8000"', "route 'github' does not use this agent"),
        ('upstream = "agent:ci"', 'upstream = "agent:cii"', "there is no agent 'cii'"),
        ('upstream = "agent:ci"', 'upstream = "agent:a b"', "names no agent"),
        ('key = "file:ci.key"\n', "", "does not say where its key is"),
        ('key = "file:ci.key"', 'key = "env:NONE"', "no environment variable"),
        ('key = "file:ci.key"', 'key = "sesame"', "not a reference to a secret"),
        ('upstream = "agent:ci"', 'upstream = ["agent:ci", "agent:ci"]', "names the same upstream twice"),
        ('upstream = "agent:ci"', 'upstream = { url = "agent:ci", send_proxy = true }', "not one client's"),
        ('[tls]\ncert = "cert.pem"\nkey = "cert.pem"\n', "", "there is no certificate"),
        ('secrets = ["file:secret"]', 'verify = "agent"\nsecrets = ["file:secret"]', "the agent gives the verdict"),
        (
            'secrets = ["file:secret"]\nupstream = "agent:ci"',
            'verify = "agent"\nupstream = ["agent:ci", "8000"]',
            "an upstream that is no agent",
        ),
        ("[route.github]", '[tcp.a]\nlisten = "127.0.0.1:0"\nupstream = "agent:ci"\n[route.github]', "no plain TCP"),
    ],
)
def test_what_does_not_fit_is_told(folder: Path, old: str, new: str, said: str) -> None:
    assert old in RELAY
    assert said in refused(folder, RELAY.replace(old, new))


KEY = encode_base64url(bytes(range(32)))


@pytest.mark.parametrize("content", [KEY, KEY + b"\n"])
def test_a_key_may_come_later_and_is_then_the_relays_alone(folder: Path, content: bytes) -> None:
    path = folder / "ci.key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert loaded(folder, RELAY).settings.agents.rules["ci"].key == b"", "the file counts, not what was read once"
    path.chmod(0o644)
    said = refused(folder, RELAY)
    assert f"other users may read the agent's key, {path}" in said
    assert "chmod 6" in said
    assert KEY.decode() not in said


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"\xff" * 43, encode_base64url(bytes(31)), KEY + b"=", b"x" * 70_000]
)
def test_a_file_that_is_no_key_is_refused(folder: Path, content: bytes) -> None:
    """Its agent would be away for ever, and nothing would say why."""
    path = folder / "ci.key"
    path.write_bytes(content)
    path.chmod(0o600)
    said = refused(folder, RELAY)
    assert str(path) in said
    assert "agent.ci.key" in said


def test_the_mend_of_a_key_is_a_command(folder: Path) -> None:
    path = folder / "ci.key"
    path.write_bytes(b"something else")
    path.chmod(0o600)
    assert f"rm {path} && hookward enrol ci" in refused(folder, RELAY)
    path.unlink()
    path.mkdir()
    assert f"{path} is a folder" in refused(folder, RELAY)
    assert f'key = "file:{path}/ci.key"' in refused(folder, RELAY)
    path.rmdir()
    path.symlink_to(folder / "gone")
    assert "does not exist" in refused(folder, RELAY), "no agent that joins would be found there"


def test_a_key_by_another_reference_is_one_as_well(folder: Path) -> None:
    text = RELAY.replace("file:ci.key", "env:CI_KEY")
    (folder / "hookward.toml").write_text(text)
    flags = parse_flags(["--config", str(folder / "hookward.toml")])
    rule = load_namespace(flags, {"CI_KEY": KEY.decode()}).settings.agents.rules["ci"]
    assert (rule.key_path, rule.key) == ("", KEY)
    with pytest.raises(ConfigError, match="not the key of an agent"):
        load_namespace(flags, {"CI_KEY": "a passphrase"})


def test_the_verdict_may_be_the_agents(folder: Path) -> None:
    text = RELAY.replace('secrets = ["file:secret"]', 'verify = "agent"')
    load = loaded(folder, text)
    [route] = load.policy.routes
    assert (route.signature, route.token, route.endpoint_check, route.provider) == (None, None, None, "github")
    assert "Proof: checked by the agent" in describe(load)
    assert guards(route) == ["a proof that its agent checks"]
    assert all(endpoint.verifies for endpoint in route.upstream)
    [bare] = loaded(folder, text.replace('provider = "github"\n', "")).policy.routes
    assert (bare.provider, bare.signature) == ("", None)


ANYWHERE = Peer.of("203.0.113.9")
SENDER = Peer.of("192.0.2.7")


def test_agents_may_connect_where_senders_may_not(folder: Path) -> None:
    text = RELAY.replace('provider = "github"', 'provider = "github"\nallow = ["192.0.2.0/24"]')
    policy = loaded(folder, text).policy
    assert policy.admission is None, "from anywhere, as nothing is said"
    assert (policy.is_client(SENDER), policy.is_client(ANYWHERE)) == (True, False)
    assert policy.may_arrive(ANYWHERE)
    # Strangers may now begin TLS, so that a share is kept for those that are listed.
    assert SENDER in policy.reserved_for
    assert ANYWHERE not in policy.reserved_for
    listed = text.replace('routes = ["github"]', 'routes = ["github"]\nallow = ["198.51.100.1"]')
    policy = loaded(folder, listed).policy
    assert policy.admission == AddressSet.parse(["192.0.2.0/24", "198.51.100.1"])
    assert not policy.may_arrive(ANYWHERE)


def test_deny_holds_for_agents_as_well(folder: Path) -> None:
    policy = loaded(folder, 'deny = ["203.0.113.0/24"]\n' + RELAY).policy
    assert policy.admission is not None
    assert ANYWHERE not in policy.admission
    assert SENDER in policy.admission


def test_an_agents_own_load(folder: Path) -> None:
    found = loaded(folder, 'upstream = "8000"', dials=DIALS)
    assert found.settings.dials == DIALS
    assert found.policy.exposure is Exposure.OPEN
    [route] = found.policy.routes
    assert (route.path, route.relayed, route.limits.request_timeout_s) == (b"/", True, agents.PATIENT_S)
    assert Peer.unix() in found.policy.trusted_proxies
    assert ANYWHERE not in found.policy.trusted_proxies
    guarded = '[route.a]\npath = "/a"\nprovider = "github"\nsecrets = ["file:secret"]\nupstream = "8000"'
    found = loaded(folder, 'state_dir = "/srv/state"\n' + guarded, dials=DIALS)
    assert found.policy.exposure is Exposure.ROUTES
    assert found.policy.routes[0].limits.request_timeout_s < agents.PATIENT_S
    assert found.settings.dials.state_dir == "/srv/state"


@pytest.mark.parametrize(
    "line", ['listen = ["127.0.0.1:0"]', '[tls]\ncert = "cert.pem"', '[tcp.a]\nlisten = "127.0.0.1:0"\nupstream = "22"']
)
def test_an_agent_listens_on_nothing(folder: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="an agent listens on nothing"):
        loaded(folder, f'upstream = "8000"\n{line}', dials=DIALS)
