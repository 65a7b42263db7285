from __future__ import annotations

import os

import pytest

from proxy.config.problems import rule_of
from proxy.config.settings import TlsFiles
from proxy.core.addresses import Peer
from tests.config.loading import ENDS, FLAG_ENDS, Workplace

GUARDED = ENDS + '[route.a]\nallow = "192.0.2.0/24"\n'
SSH = '[tcp.ssh]\nlisten = "0.0.0.0:2222"\nupstream = "127.0.0.1:22"\n'


def pem(place: Workplace, *names: str) -> None:
    for name in names:
        (place.folder / name).write_text("x")


def test_one_certificate(place: Workplace) -> None:
    pem(place, "c.pem", "k.pem")
    [one] = place.load(GUARDED + '[tls]\ncert = "c.pem"\nkey = "k.pem"\n').settings.tls
    assert one == TlsFiles(f"{place.folder}/c.pem", f"{place.folder}/k.pem", (), one.where)
    assert str(one.where).endswith("hookward.toml:6: tls.cert")


def test_several_certificates_and_a_key_in_the_same_file(place: Workplace) -> None:
    pem(place, "c.pem", "d.pem", "k.pem")
    text = (
        GUARDED
        + '[[tls]]\ncert = "c.pem"\n[[tls]]\ncert = "d.pem"\nkey = "k.pem"\nnames = ["a.example", "*.b.example"]\n'
    )
    first, second = place.load(text).settings.tls
    assert first.key == first.cert
    assert second.names == ("a.example", "*.b.example")


def test_certificates_of_flags(place: Workplace) -> None:
    pem(place, "c.pem")
    [one] = place.load(None, *FLAG_ENDS, "--open", "--tls-cert", f"{place.folder}/c.pem").settings.tls
    assert str(one.where) == "--tls-cert"


@pytest.mark.parametrize(("mode", "says"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
@pytest.mark.parametrize("files", ['key = "k.pem"', ""])
def test_a_private_key_that_others_may_read_is_said(place: Workplace, mode: int, files: str, *, says: bool) -> None:
    """At the start as by `check`: the key of a certificate of ours, in a file of its own or with the certificate."""
    pem(place, "c.pem", "k.pem")
    name = "k.pem" if files else "c.pem"
    (place.folder / name).chmod(mode)
    for path in (place.folder / "c.pem", place.folder / "k.pem"):
        os.chown(path, 0 if os.geteuid() == 0 else -1, -1)
    if os.geteuid() != 0 and mode == 0o640:
        pytest.skip("a group may read what root alone may write")
    warnings = place.load(GUARDED + f'[tls]\ncert = "c.pem"\n{files}\n').settings.warnings
    found = [one for one in warnings if rule_of(one) == "H101"]
    assert len(found) == says
    assert all(f"private key, {place.folder}/{name} (mode {mode:04o})" in one for one in found)


def test_a_key_towards_an_upstream_that_others_may_read_is_said(place: Workplace) -> None:
    pem(place, "c.pem", "k.pem")
    (place.folder / "k.pem").chmod(0o644)
    text = GUARDED + '[upstream_tls]\ncert = "c.pem"\nkey = "k.pem"\n'
    [said] = [one for one in place.load(text).settings.warnings if rule_of(one) == "H101"]
    assert "upstream_tls.key: " in said


def test_tcp(place: Workplace) -> None:
    [one] = place.load(GUARDED + SSH + 'allow = ["198.51.100.0/24"]\n').settings.tcp
    assert (one.name, str(one.listen), one.upstream.host, one.upstream.port) == ("ssh", "0.0.0.0:2222", "127.0.0.1", 22)
    assert one.allow is not None
    assert Peer.of("198.51.100.1") in one.allow


def test_tcp_takes_the_top_levels_list(place: Workplace) -> None:
    loaded = place.load('allow = "10.0.0.0/8"\n' + ENDS + SSH)
    assert loaded.settings.tcp[0].allow is not None
    assert Peer.of("10.0.0.1") in loaded.settings.tcp[0].allow


def test_tcp_for_everybody_is_said(place: Workplace) -> None:
    assert any("every address may connect to tcp 'ssh'" in text for text in place.load(GUARDED + SSH).settings.warnings)


def test_tcp_alone_needs_neither_listener_nor_upstream(place: Workplace) -> None:
    loaded = place.load(
        None, "--tcp", "127.0.0.1:2222=127.0.0.1:22", "--tcp", "mail=2525=127.0.0.1:25", "--allow", "10.0.0.1"
    )
    assert [one.name for one in loaded.settings.tcp] == ["tcp-1", "mail"]
    assert all(one.allow is not None for one in loaded.settings.tcp)
    assert loaded.settings.listen == ()


BAD = [
    ('[tls]\nkey = "token"\n', "5: tls", "no certificate", "--tls-cert"),
    ('[tls]\ncert = "none.pem"\n', "6: tls.cert", "no file none.pem", "mend the path"),
    ('[tls]\ncert = "token"\nkey = "none.pem"\n', "7: tls.key", "no file none.pem", "mend the path"),
    ('[tls]\ncert = "token"\nclient_cert = "require"\n', "7: tls.client_cert", "is not said", "--tls-client-ca"),
    ('[tls]\ncert = "token"\nclient_ca = "none.pem"\n', "7: tls.client_ca", "no file none.pem", "mend the path"),
    (
        '[[tls]]\ncert = "token"\n[[tls]]\ncert = "token"\nclient_ca = "token"\n',
        "9: tls[1].client_ca",
        "counts for all certificates",
        "first [[tls]] table",
    ),
    ('[tcp.ssh]\nlisten = ":2222"\n', "5: tcp.ssh", "has no `upstream`", "127.0.0.1:22"),
    ('[tcp.ssh]\nupstream = "127.0.0.1:22"\n', "5: tcp.ssh", "has no `listen`", "0.0.0.0:2222"),
    (
        '[tcp.ssh]\nlisten = "127.0.0.1:8443"\nupstream = "127.0.0.1:22"\n',
        "6: tcp.ssh.listen",
        "two listeners",
        "its own",
    ),
    ('[tcp.ssh]\nlisten = ":2222"\nupstream = "localhost:2222"\n', "7: tcp.ssh.upstream", "leads back", "own address"),
    ('[tcp.ssh]\nlisten = "unix:/a"\nupstream = "unix:/a"\n', "7: tcp.ssh.upstream", "leads back", "own address"),
    ('upstream = "127.0.0.1:8443"\n', "5: route.a.upstream", "leads back", "own address"),
]


@pytest.mark.parametrize(("text", "where", "what", "mend"), BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
def test_mistakes(place: Workplace, text: str, where: str, what: str, mend: str) -> None:
    [problem] = place.problems(GUARDED + text)
    assert problem.where == f"hookward.toml:{where}"
    assert what in problem.what
    assert mend in problem.mend


def test_two_listeners_at_one_place(place: Workplace) -> None:
    assert place.places(None, *FLAG_ENDS, "--open", "--admin", "127.0.0.1:8443") == ["--admin"]
    assert not place.places(None, "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--upstream", "8000", "--open")


def test_an_admin_listener_that_others_reach_is_said(place: Workplace) -> None:
    assert any("admin" in text for text in place.load(None, *FLAG_ENDS, "--open", "--admin", ":4040").settings.warnings)
    assert not any(
        "admin" in t for t in place.load(None, *FLAG_ENDS, "--open", "--admin", "127.0.0.1:1").settings.warnings
    )


@pytest.mark.parametrize(
    ("text", "required"), [("", True), ('client_cert = "require"', True), ('client_cert = "optional"', False)]
)
def test_one_rule_for_client_certificates(place: Workplace, text: str, required: bool) -> None:
    more = f'[[tls]]\ncert = "token"\nclient_ca = "github.secret"\n{text}\n[[tls]]\ncert = "basic"\n'
    found = place.load(GUARDED + more).settings.tls
    ca = str(place.folder / "github.secret")
    assert [(one.client_ca, one.client_required) for one in found] == [(ca, required)] * 2
