"""``check`` says what a configuration means and listens nowhere."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.ops import checkup


def test_a_good_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    secret = tmp_path / "github.secret"
    secret.write_text("It's a Secret to Everybody\n")
    secret.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ["--listen", listen, "--upstream", "127.0.0.1:1", "--provider", "github", "--secret-file", str(secret)]
        assert checkup.main(flags) == 0
    captured = capsys.readouterr()
    assert "github" in captured.out
    assert "warning: " in captured.err
    assert "Everybody" not in captured.out + captured.err


def test_a_bad_one_is_raised_with_all_its_problems():
    with pytest.raises(ConfigError) as caught:
        checkup.main(["--provider", "githob"])
    assert {problem.where.split(":")[0] for problem in caught.value.problems} >= {"--listen", "--provider"}


def test_certificates_are_read_too(tmp_path: Path):
    issued, other = trustme.CA().issue_cert("a.example.com"), trustme.CA().issue_cert("a.example.com")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"]
    with pytest.raises(ConfigError, match="not the key of"):
        checkup.main([*flags, "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")])
