"""TLS contexts: chosen by name, re-read on change, kept where the new pair is bad; and what they refuse."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from proxy.core.policy import UpstreamTls
from proxy.errors import ConfigError
from proxy.net.beyond_ssl import client_names
from proxy.net.tls import KeyPair, TlsContexts, upstream_context
from tests.net.conftest import Authority


def contexts(*pairs: tuple[str, str]) -> TlsContexts:
    return TlsContexts([KeyPair(cert, key, where=f"tls[{i}]") for i, (cert, key) in enumerate(pairs)])


@pytest.fixture
def client(ca) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory. Raises what the client raises, or else the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(6):
        for end in (here, there):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    here.do_handshake()
    return there, here


def names_seen(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> set[str]:
    _, here = shake_hands(server, client, name)
    names: Any = here.getpeercert()["subjectAltName"]
    return {value for kind, value in names if kind == "DNS"}


def problem(error: pytest.ExceptionInfo[ConfigError]) -> str:
    [one] = error.value.problems
    assert one.mend
    return f"{one.where}: {one.what}"


class TestNames:
    @pytest.fixture
    def served(self, authority: Authority) -> TlsContexts:
        return contexts(
            authority.write("first", "hooks.example.com"),
            authority.write("second", "api.example.org", "*.example.org"),
            authority.write("third", "www.example.net", "hooks.example.com"),
        )

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("hooks.example.com", "hooks.example.com"),
            ("HOOKS.example.COM", "hooks.example.com"),
            ("api.example.org", "*.example.org"),
            ("anything.example.org", "*.example.org"),
            ("www.example.net", "www.example.net"),
        ],
    )
    def test_the_name_picks_the_certificate(self, served, client, name, expected):
        assert expected in names_seen(served.context, client, name)

    @pytest.mark.parametrize("name", ["a.b.example.org", "example.org", "unknown.test", "192.0.2.9"])
    def test_a_name_that_nobody_has_gets_the_first(self, served, client, name):
        client.check_hostname = False
        assert names_seen(served.context, client, name) == {"hooks.example.com"}

    @pytest.mark.parametrize("name", [None, "", ".", "unknown.test"])
    def test_no_name_gets_the_first(self, served, name):
        assert served.choose(name) is served.context

    def test_the_first_of_two_that_share_a_name_counts(self, served):
        assert served.choose("hooks.example.com") is served.loaded[0].context

    def test_the_configuration_may_list_the_names(self, authority, client):
        first, second = authority.write("first", "a.example"), authority.write("second", "b.example")
        served = TlsContexts([KeyPair(*first), KeyPair(*second, names=("Listed.example",))])
        assert served.choose("listed.example") is served.loaded[1].context
        assert served.choose("b.example") is served.context

    def test_dates_are_readable(self, served):
        assert all(one.certificate.not_before < time.time() < one.certificate.not_after for one in served.loaded)


class TestStrength:
    @pytest.fixture
    def server(self, authority: Authority) -> ssl.SSLContext:
        return contexts(authority.write("first", "hooks.example.com")).context

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    def test_nothing_below_tls_1_2(self, server, client):
        client.minimum_version = ssl.TLSVersion.TLSv1
        client.maximum_version = ssl.TLSVersion.TLSv1_1
        client.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            shake_hands(server, client, "hooks.example.com")

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_both_living_versions(self, server, client, version):
        client.minimum_version = client.maximum_version = version
        _, here = shake_hands(server, client, "hooks.example.com")
        name, _, bits = here.cipher()
        assert bits >= 128
        assert "GCM" in name or "CHACHA20" in name

    @pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"])
    def test_no_cipher_without_forward_secrecy_or_authentication(self, server, client, cipher):
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(cipher)
        with pytest.raises(ssl.SSLError):
            shake_hands(server, client, "hooks.example.com")

    @pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)])
    def test_http_1_1_is_all_we_speak(self, server, client, offered, chosen):
        if offered:
            client.set_alpn_protocols(offered)
        _, here = shake_hands(server, client, "hooks.example.com")
        assert here.selected_alpn_protocol() == chosen

    def test_options(self, server):
        assert server.options & ssl.OP_NO_RENEGOTIATION
        assert server.options & ssl.OP_NO_COMPRESSION
        assert not server.options & ssl.OP_NO_TICKET

    def test_each_handshake_gives_one_ticket(self, server, client):
        ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        ending = server.wrap_bio(ours, theirs, server_side=True)
        told: list[tuple[str, str]] = []
        # What the client reads, by its name in the protocol: the only count of tickets that Python offers.
        client._msg_callback = lambda _, way, version, kind, message, data: told.append((way, message.name))
        asking = client.wrap_bio(theirs, ours, server_hostname="hooks.example.com")
        for side in (asking, ending, asking, ending):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        with suppress(ssl.SSLWantReadError):
            asking.read(1)
        assert told.count(("read", "NEWSESSION_TICKET")) == 1

    def test_sessions_resume(self, server, client):
        client.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 sends its tickets after the handshake
        _, first = shake_hands(server, client, "hooks.example.com")
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        there = server.wrap_bio(to_server, to_client, server_side=True)
        here = client.wrap_bio(to_client, to_server, server_hostname="hooks.example.com", session=first.session)
        for _ in range(4):
            for end in (here, there):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        assert here.session_reused


class TestClientCertificates:
    @pytest.fixture
    def authorities(self, authority: Authority) -> str:
        path = authority.directory / "clients.pem"
        authority.ca.cert_pem.write_to_path(str(path))
        return str(path)

    def serving(self, authority: Authority, authorities: str, *, required: bool) -> TlsContexts:
        pairs = [authority.write(name, f"{name}.example") for name in ("a", "b")]
        return TlsContexts([KeyPair(*pair, client_ca=authorities, client_required=required) for pair in pairs])

    @pytest.mark.parametrize("name", ["a.example", "b.example"])
    def test_required(self, authority, authorities, client, name):
        served = self.serving(authority, authorities, required=True)
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            shake_hands(served.context, client, name)
        client.load_cert_chain(*authority.write("client", "ci.example.com"))
        there, _ = shake_hands(served.context, client, name)
        assert client_names(there.getpeercert()) >= {"ci.example.com"}

    def test_optional(self, authority, authorities, client):
        served = self.serving(authority, authorities, required=False)
        there, _ = shake_hands(served.context, client, "a.example")
        assert client_names(there.getpeercert()) == set()

    @pytest.mark.parametrize("required", [False, True])
    def test_one_of_another_authority_is_refused_in_either_case(self, authority, authorities, client, required):
        served = self.serving(authority, authorities, required=required)
        stranger = trustme.CA().issue_cert("ci.example.com")
        stranger.configure_cert(client)
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            shake_hands(served.context, client, "a.example")

    def test_a_file_without_authorities(self, authority):
        empty = authority.directory / "none.pem"
        empty.write_text("nothing")
        with pytest.raises(ConfigError) as error:
            TlsContexts([KeyPair(*authority.write("a", "a.example"), client_ca=str(empty))])
        assert "holds no certificate" in problem(error)

    def test_new_authorities_are_seen(self, authority, authorities, client):
        served = self.serving(authority, authorities, required=True)
        client.load_cert_chain(*authority.write("client", "ci.example.com"))
        trustme.CA().cert_pem.write_to_path(authorities)
        assert served.reload_changed() == []
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            shake_hands(served.context, client, "a.example")


class TestReload:
    def test_a_changed_file_is_seen(self, authority, client):
        served = contexts(authority.write("pair", "old.example"))
        old = served.context
        authority.write("pair", "new.example")
        assert served.reload_changed() == []
        assert served.context is not old
        assert names_seen(served.context, client, "new.example") == {"new.example"}

    def test_an_unchanged_file_is_left(self, authority):
        served = contexts(authority.write("pair", "old.example"))
        old = served.context
        assert served.reload_changed() == []
        assert served.context is old

    def test_a_bad_pair_leaves_the_old_one_in_force_and_is_told_once(self, authority, client):
        served = contexts(authority.write("first", "a.example"), authority.write("second", "b.example"))
        good = Path(authority.directory / "second.key").read_bytes()
        Path(authority.directory / "second.key").write_text("half a ke")
        [told] = served.reload_changed()
        assert told.where == "tls[1]"
        assert served.reload_changed() == []
        assert names_seen(served.context, client, "b.example") == {"b.example"}
        Path(authority.directory / "second.key").write_bytes(good)
        assert served.reload_changed() == []

    def test_a_certificate_that_comes_before_its_key(self, authority, client):
        served = contexts(authority.write("pair", "old.example"))
        old_key = Path(authority.directory / "pair.key").read_bytes()
        authority.write("pair", "new.example")
        new_key = Path(authority.directory / "pair.key").read_bytes()
        Path(authority.directory / "pair.key").write_bytes(old_key)
        assert len(served.reload_changed()) == 1
        assert names_seen(served.context, client, "old.example") == {"old.example"}
        Path(authority.directory / "pair.key").write_bytes(new_key)
        assert served.reload_changed() == []
        assert names_seen(served.context, client, "new.example") == {"new.example"}

    def test_a_file_that_vanishes(self, authority, client):
        served = contexts(authority.write("pair", "old.example"))
        Path(authority.directory / "pair.crt").unlink()
        [told] = served.reload_changed()
        assert "does not exist" in told.what
        assert names_seen(served.context, client, "old.example") == {"old.example"}

    def test_a_handshake_under_way_ends_with_what_it_began(self, authority, client):
        served = contexts(authority.write("pair", "old.example"))
        begun = served.context
        authority.write("pair", "old.example", "new.example")
        assert served.reload_changed() == []
        assert "old.example" in names_seen(begun, client, "old.example")

    def test_watching(self, run, authority):
        served = contexts(authority.write("pair", "old.example"))
        told = []

        async def main():
            loop = asyncio.get_running_loop()
            heard = loop.create_future()

            def report(problems):
                told.extend(problems)
                heard.set_result(None)

            watching = loop.create_task(served.watch(report, interval_s=0.01))
            old = served.context
            authority.write("pair", "new.example")
            while served.context is old:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            Path(authority.directory / "pair.key").write_text("nonsense")  # noqa: ASYNC240
            await heard
            watching.cancel()

        run(main())
        assert len(told) == 1


class TestProblems:
    def test_missing(self, authority):
        cert, key = authority.write("pair", "a.example")
        with pytest.raises(ConfigError) as caught:
            contexts((cert + ".missing", key), (cert, key + ".missing"))
        assert [one.where for one in caught.value.problems] == ["tls[0]", "tls[1]"]
        assert all("does not exist" in one.what for one in caught.value.problems)

    def test_a_key_of_another_certificate(self, authority):
        (cert, _), (_, key) = authority.write("one", "a.example"), authority.write("two", "a.example")
        with pytest.raises(ConfigError) as caught:
            contexts((cert, key))
        assert problem(caught) == f"tls[0]: {key} is not the key of {cert}"

    def test_an_encrypted_key(self, authority, capfd):
        cert, key = authority.write("pair", "a.example")
        loaded = serialization.load_pem_private_key(Path(key).read_bytes(), None)
        Path(key).write_bytes(
            loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"hidden"),
            )
        )
        with pytest.raises(ConfigError) as caught:
            contexts((cert, key))
        assert problem(caught) == f"tls[0]: {key} is encrypted"
        assert capfd.readouterr() == ("", "")

    def test_a_directory(self, authority):
        _, key = authority.write("pair", "a.example")
        with pytest.raises(ConfigError) as caught:
            contexts((str(authority.directory), key))
        assert "cannot be read" in problem(caught)

    @pytest.mark.parametrize(
        "content", [b"", b"\xff\x00 no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    )
    def test_a_certificate_that_is_none(self, authority, content):
        cert, key = authority.write("pair", "a.example")
        Path(cert).write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            contexts((cert, key))
        assert cert in problem(caught)

    def test_a_key_that_is_none(self, authority):
        cert, key = authority.write("pair", "a.example")
        Path(key).write_text("nonsense")
        with pytest.raises(ConfigError) as caught:
            contexts((cert, key))
        assert "cannot be used" in problem(caught)


class TestUpstream:
    def test_it_verifies_against_the_file_alone(self, authority, ca):
        path = authority.directory / "ca.pem"
        ca.cert_pem.write_to_path(path)
        server = contexts(authority.write("app", "app.internal")).context
        context = upstream_context(UpstreamTls(ca_file=str(path)))
        shake_hands(server, context, "app.internal")
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(server, context, "other.internal")
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(server, upstream_context(UpstreamTls()), "app.internal")

    def test_it_shows_its_own_certificate(self, authority, ca):
        path = authority.directory / "ca.pem"
        ca.cert_pem.write_to_path(path)
        cert, key = authority.write("ours", "hookward.internal")
        server = contexts(authority.write("app", "app.internal")).context
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(path)
        tls = UpstreamTls(ca_file=str(path), cert_file=cert, key_file=key)
        there, _ = shake_hands(server, upstream_context(tls), "app.internal")
        assert ("DNS", "hookward.internal") in there.getpeercert()["subjectAltName"]

    def test_made_once_and_again_on_change(self, authority, ca):
        path = authority.directory / "ca.pem"
        ca.cert_pem.write_to_path(path)
        tls = UpstreamTls(ca_file=str(path))
        first = upstream_context(tls)
        assert upstream_context(tls) is first
        path.write_bytes(ca.cert_pem.bytes() + b"\n")
        assert upstream_context(tls) is not first

    @pytest.mark.parametrize("content", [None, b"", b"nonsense"])
    def test_an_authority_that_is_none(self, tmp_path, content):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            upstream_context(UpstreamTls(ca_file=str(path)))
        assert str(path) in problem(caught)
