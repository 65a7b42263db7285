"""The names and the end of a certificate in ``check``, at the start and in ``/status``; so what is wrong with them."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.whole.process import ROOT, Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import once, request

TODAY = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def write(folder: Path, begin: dt.timedelta, end: dt.timedelta) -> tuple[str, str, bytes]:
    """The paths of a certificate and its key, and the authority."""
    authority = trustme.CA()
    issued = authority.issue_cert("hooks.example.com", not_before=TODAY + begin, not_after=TODAY + end)
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    return str(cert), str(key), authority.cert_pem.bytes()


def check(cert: str, key: str, *flags: str) -> tuple[int, str]:
    ends = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--tls-cert", cert, "--tls-key", key]
    command = [sys.executable, "-m", "proxy", "check", *ends, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("begin", "end", "state", "rule"),
    [
        (-9 * DAY, -DAY, "expired", "H501"),
        (DAY, 9 * DAY, "not_yet_valid", "H502"),
        (-9 * DAY, 5 * DAY, "expires_soon", "H503"),
        (-9 * DAY, 50 * DAY, "valid", ""),
    ],
)
def test_what_is_said_of_dates(
    start: Callable[..., Hookward],
    upstream: RecordingUpstream,
    tmp_path: Path,
    begin: dt.timedelta,
    end: dt.timedelta,
    state: str,
    rule: str,
) -> None:
    cert, key, authority = write(tmp_path, begin, end)
    until = (TODAY + end).strftime("%Y-%m-%d")
    code, said = check(cert, key, "--strict")
    assert code == (78 if rule else 0), said
    assert f"{cert}: hooks.example.com; until {until}" in said
    assert (f"[{rule}]" in said) if rule else "warning" not in said
    flags = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", upstream.url]
    hookward = start(*flags, "--tls-cert", cert, "--tls-key", key, listeners=2)
    assert hookward.said(f"certificate {cert}: hooks.example.com; until {until}")
    answer = once(hookward.addresses[-1], request("GET", "/status", host="localhost"))
    found = json.loads(answer.content)
    [shown] = found["certificates"]
    assert (shown["state"], shown["names"]) == (state, ["hooks.example.com"])
    ca = tmp_path / "ca.pem"
    ran = ["openssl", "s_client", "-connect", f"127.0.0.1:{hookward.port}", "-verify_return_error", "-CAfile", str(ca)]
    if state == "expired" and shutil.which("openssl"):
        (tmp_path / "ca.pem").write_bytes(authority)
        subprocess.run(
            [*ran, "-CAfile", str(tmp_path / "ca.pem")], input=b"", capture_output=True, check=False, timeout=30
        )
        assert hookward.said(
            "the client says that our certificate has expired or is not valid yet (from 127.0.0.1): renew it"
        )
    warned = [one for one in found["configuration"]["warnings"] if cert in one]
    assert bool(warned) is bool(rule)
    assert all(f"warning: {one}" in hookward.err.text for one in found["configuration"]["warnings"])


def test_key_and_certificate_that_are_swapped_are_said_to_be(tmp_path: Path) -> None:
    cert, key, _ = write(tmp_path, -DAY, 50 * DAY)
    code, said = check(key, cert)
    assert code == 78
    assert "they are swapped" in said
    assert f'write cert = "{cert}" and key = "{key}"' in said
    code, said = check(cert, cert)
    assert code == 78
    assert "holds a certificate, and no private key" in said
