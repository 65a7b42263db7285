"""Renewing a certificate as docs/operations.md says: its hook with the variables of each client, and with real ones."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from bench.load.process import free_port
from tests.whole.administrator import NAME, Host, load
from tests.whole.servers import program, served
from tests.whole.wire import Client


class Authority:
    """Issues certificates for the host, and says which one is served."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self.client = ssl.create_default_context()
        self._authority.configure_trust(self.client)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a new chain and its key, with a client's names."""
        issued = self._authority.issue_cert(NAME)
        folder = self._folder / name
        folder.mkdir()
        chain, key = folder / "fullchain.pem", folder / "privkey.pem"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return chain, key


def served_certificate(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Client(("127.0.0.1", port), tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) or b""


def leaf(chain: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(
        chain.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls_host(host: Host, authority: Authority) -> Host:
    """A host whose route has TLS, with the hook of the page."""
    host.set_up()
    chain, key = authority.issue("first")
    shutil.copy(chain, host.etc / "fullchain.pem")
    shutil.copy(key, host.etc / "key.pem")
    tls = f'[tls]\ncert = "{host.etc}/fullchain.pem"\nkey = "{host.etc}/key.pem"\n'
    host.config.write_text(host.config.read_text().replace("[route.github]", f"{tls}[route.github]"))
    host.command("hookward-deploy", host.text("sh", "deploy"))
    return host


VARIABLES = [
    {"RENEWED_LINEAGE": "{folder}", "RENEWED_DOMAINS": NAME},  # certbot
    {"LEGO_CERT_PATH": "{folder}/fullchain.pem", "LEGO_CERT_KEY_PATH": "{folder}/privkey.pem"},
    {"LEGO_HOOK_CERT_PATH": "{folder}/fullchain.pem", "LEGO_HOOK_CERT_KEY_PATH": "{folder}/privkey.pem"},
    {"CERT_FULLCHAIN_PATH": "{folder}/fullchain.pem", "CERT_KEY_PATH": "{folder}/privkey.pem"},  # acme.sh
]


def test_a_renewed_certificate_is_served_at_once_and_loses_nobody(
    tls_host: Host, authority: Authority, tmp_path: Path
) -> None:
    hookward = tls_host.boot()
    with load(tls_host, tls_host.etc / "github.secret", authority.client):
        for number, variables in enumerate(VARIABLES):
            chain, key = authority.issue(f"renewed-{number}")
            given = {name: value.format(folder=chain.parent) for name, value in variables.items()}
            assert served_certificate(hookward.port) != leaf(chain)
            tls_host.shell("hookward-deploy", **given)
            assert served_certificate(hookward.port) == leaf(chain)
        shutil.copy(authority.issue("other")[1], key)
        tls_host.shell("hookward-deploy", code=78, **given)
        assert served_certificate(hookward.port) == leaf(chain), "a pair that does not fit changes nothing"
    assert (tls_host.etc / "key.pem").stat().st_mode & 0o777 == 0o640


@contextmanager
def acme(folder: Path) -> Iterator[tuple[str, Path]]:
    """The URL of an ACME server that finds every challenge met, and the file of who vouches for the server itself."""
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(folder / "acme.pem"))
    issued.private_key_pem.write_to_path(str(folder / "acme.key"))
    authority.cert_pem.write_to_path(str(folder / "acme.ca"))
    config = folder / "pebble.json"
    config.write_text(
        f'{{"pebble": {{"listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{free_port()}", '
        f'"certificate": "{folder}/acme.pem", "privateKey": "{folder}/acme.key", "httpPort": {free_port()}, '
        f'"tlsPort": {free_port()}, "ocspResponderURL": "", "externalAccountBindingRequired": false}}}}'
    )
    env = {"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with served([program("pebble"), "-config", str(config)], port, folder, **env):
        yield f"https://127.0.0.1:{port}/dir", folder / "acme.ca"


CERTBOT = """#!/bin/sh
[ "$1" = certonly ] || set -- "$@" --force-renewal --no-random-sleep-on-renew
exec {real} "$@" --server {url} --config-dir {folder}/etc --work-dir {folder}/lib --logs-dir {folder}/log \\
    --non-interactive --agree-tos --email you@example.com --http-01-address 127.0.0.1 --http-01-port {port}
"""
LEGO = """#!/bin/sh
case " $* " in *" renew "*) set -- "$@" --days 9999 --no-random-sleep ;; esac
exec {real} --server {url} --path {folder}/lego --accept-tos --http.port 127.0.0.1:{port} "$@"
"""


@pytest.mark.timeout(180)  # two programs, each of which starts slowly, go through an order twice
@pytest.mark.parametrize(("client", "script"), [("certbot", CERTBOT), ("lego", LEGO)], ids=["certbot", "lego"])
def test_a_real_client_renews(tls_host: Host, tmp_path: Path, client: str, script: str) -> None:
    """The lines of the page, with the flags that lead to an ACME server of the test."""
    real = program(client)
    hookward = tls_host.boot()
    begun = served_certificate(hookward.port)
    with acme(tmp_path) as (url, vouching):
        tls_host.command(client, script.format(real=real, url=url, folder=tmp_path, port=free_port()))
        trusted = {"REQUESTS_CA_BUNDLE": str(vouching), "LEGO_CA_CERTIFICATES": str(vouching)}
        issue, renew = tls_host.text("sh", client).splitlines()
        tls_host.shell(issue, **trusted)
        issued = served_certificate(hookward.port)
        assert issued not in {begun, b""}
        tls_host.shell(renew, **trusted)
        assert served_certificate(hookward.port) not in {begun, issued}
