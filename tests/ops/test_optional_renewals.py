"""What a worker renews: certificates in force, exchanged and watched, and what refreshes published address sets."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

import proxy.net
from proxy.config.load import load
from proxy.config.set_shelf import SetShelf
from proxy.config.settings import Settings
from proxy.core.metrics import Metrics
from proxy.errors import ConfigError
from proxy.net import tls
from proxy.net.tls import load_certificates
from proxy.ops.optional import Certificates, PublishedSets
from tests.ops.staging import Stage


def settings(folder: Path, name: str = "a.example.com") -> Settings:
    issued = trustme.CA().issue_cert(name)
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--tls-cert", str(cert), "--tls-key", str(key)]
    return load(flags, {}).settings


def test_none_where_none_is_configured():
    assert load_certificates(load(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"], {}).settings) is None


def test_listeners_see_what_is_in_force(tmp_path: Path):
    first, second = (load_certificates(settings(tmp_path, f"{name}.example.com")) for name in "ab")

    async def main() -> None:
        certificates = Certificates(asyncio.get_running_loop())
        with pytest.raises(AssertionError):
            _ = certificates.context
        certificates.use(first)
        before = certificates.context
        assert isinstance(before, ssl.SSLContext)
        certificates.use(second)
        assert certificates.context is not before
        certificates.use(None)

    asyncio.run(main())


def test_a_renewal_is_taken_and_a_bad_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(tls.TlsContexts.watch, "__defaults__", (0.001,))
    found = settings(tmp_path)
    contexts = load_certificates(found)
    assert contexts is not None
    cert = Path(found.tls[0].cert)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        said = asyncio.Event()

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                said.set()

        handler = Handler()
        logging.getLogger("proxy").addHandler(handler)
        certificates = Certificates(loop)
        certificates.use(contexts)
        before = certificates.context
        try:
            cert.write_text("no certificate")  # noqa: ASYNC240 - a moment, and only a test's
            async with asyncio.timeout(10):
                await said.wait()
        finally:
            logging.getLogger("proxy").removeHandler(handler)
            certificates.use(None)
        assert certificates._watch is None
        assert contexts.context is before

    with caplog.at_level(logging.ERROR, "proxy"):
        asyncio.run(main())
    assert "the old one stays" in caplog.text


def test_a_renewal_is_told_with_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(tls.TlsContexts.watch, "__defaults__", (0.001,))
    found = settings(tmp_path)
    contexts = load_certificates(found)
    pair = found.tls[0]

    async def main() -> None:
        certificates = Certificates(asyncio.get_running_loop())
        certificates.use(contexts)
        before = certificates.served
        issued = trustme.CA().issue_cert("a.example.com", not_after=datetime(2031, 5, 6, tzinfo=UTC))
        issued.private_key_pem.write_to_path(pair.key)
        issued.cert_chain_pems[0].write_to_path(pair.cert)
        async with asyncio.timeout(10):
            while certificates.served == before:  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(0.001)
        certificates.use(None)

    with caplog.at_level(logging.INFO, "proxy"):
        asyncio.run(main())
    assert f"certificate {pair.cert}: a.example.com; until 2031-05-06" in caplog.text


SETS = 'allow = ["set:github"]'


def published() -> PublishedSets:
    return PublishedSets(SetShelf(), Metrics("0", "3"), lambda: 0.0, lambda _: None)


def test_it_is_imported_where_a_set_is_used() -> None:
    code = "import sys, proxy.ops.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"proxy.net.feeds", "proxy.net.feed_fetch"} & set(done.stdout.split()) == set()


async def test_without_a_set_nothing_is_measured_and_closed(tmp_path: Path) -> None:
    sets, loaded = published(), Stage(tmp_path, 1).load()
    assert await sets.fetch_missing(loaded) is loaded
    sets.use(loaded)
    sets.measure()
    await sets.close()


async def test_a_reload_may_be_the_first_that_asks_for_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 1)
    sets = published()
    sets.use(stage.load())
    stage.write(SETS)
    loaded = stage.load()
    sets.prepare(loaded)
    sets.prepare(loaded)
    sets.use(loaded)
    sets.measure()
    await sets.close()


async def test_a_reload_is_refused_where_it_can_no_longer_be_read(tmp_path: Path, monkeypatch) -> None:
    """The user that serves may not be able to read the package, and must not find out later."""
    stage = Stage(tmp_path, 1)
    stage.write(SETS)
    sets = published()
    monkeypatch.delattr(proxy.net, "feeds", raising=False)
    monkeypatch.setitem(sys.modules, "proxy.net.feeds", None)
    with pytest.raises(ConfigError) as caught:
        sets.prepare(stage.load())
    assert caught.value.problems[0].mend == "restart hookward"
