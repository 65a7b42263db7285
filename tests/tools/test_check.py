"""``check`` says what a configuration means and listens nowhere."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trustme

from proxy.config.problems import RULES
from proxy.errors import ConfigError, FlagError
from proxy.tools import check


def test_a_good_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    secret = tmp_path / "github.secret"
    secret.write_text("It's a Secret to Everybody\n")
    secret.chmod(0o600)
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))  # and `check` does not listen, so that both may have it
        listen = f"127.0.0.1:{bound.getsockname()[1]}"
        flags = ["--listen", listen, "--upstream", "127.0.0.1:1", "--provider", "github", "--secret-file", str(secret)]
        assert check.main(flags) == 0
    captured = capsys.readouterr()
    assert "github" in captured.out
    assert "warning: " in captured.err
    assert "Everybody" not in captured.out + captured.err


def test_a_bad_one_is_raised_with_all_its_problems():
    with pytest.raises(ConfigError) as caught:
        check.main(["--provider", "githob"])
    assert {problem.where.split(":")[0] for problem in caught.value.problems} >= {"--listen", "--provider"}


def test_what_this_host_lacks_is_told_with_the_rest(tmp_path: Path):
    log = str(tmp_path / "none" / "access.log")
    host = ["--user", "no-such-user", "--group", "no-such-group", "--access-log", log]
    ends = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"]
    places = ["--user", "--group", "--access-log"]
    for flags, others in ([*ends, "--open"], []), ([*ends, "--provider", "githob"], ["--provider"]):
        with pytest.raises(ConfigError) as caught:
            check.main([*flags, *host])
        assert list(dict.fromkeys(problem.where for problem in caught.value.problems)) == [*others, *places]
    with pytest.raises(ConfigError, match="githob"):
        check.main(["--elsewhere", *ends, "--provider", "githob", *host])


def test_certificates_are_read_too(tmp_path: Path):
    issued, other = trustme.CA().issue_cert("a.example.com"), trustme.CA().issue_cert("a.example.com")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    flags = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"]
    with pytest.raises(ConfigError, match="not the key of"):
        check.main([*flags, "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")])


@pytest.fixture
def odd(tmp_path: Path) -> list[str]:
    """Flags of a configuration with one oddity: a short secret."""
    secret = tmp_path / "github.secret"
    secret.write_text("short")
    secret.chmod(0o600)
    ends = ["--listen", "127.0.0.1:1", "--upstream", "127.0.0.1:2"]
    return [*ends, "--path", "/h", "--provider", "github", "--secret-file", str(secret)]


def test_what_is_odd_has_an_id_and_a_mend(odd: list[str], capsys: pytest.CaptureFixture[str]):
    assert check.main(odd) == 0
    said = capsys.readouterr().err
    assert "the secret secret-1 has 5 bytes [H102]\n    Make a new one" in said


def test_it_is_silenced_by_id(odd: list[str], capsys: pytest.CaptureFixture[str]):
    assert check.main([*odd, "--strict"]) == 78
    capsys.readouterr()
    assert check.main([*odd, "--strict", "--silence", "H102"]) == 0
    assert capsys.readouterr().err == ""
    with pytest.raises(FlagError, match="no rule 'H1'"):
        check.main([*odd, "--silence", "H1"])


def test_the_help_lists_the_rules(capsys: pytest.CaptureFixture[str]):
    assert check.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "--strict" in out
    assert all(rule in out for rule in RULES)


def test_tests_that_fail_are_told_with_the_rest(odd: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "d.http").write_bytes(b"POST /h HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    config = tmp_path / "hookward.toml"
    config.write_text('[[test]]\nfile = "d.http"\nexpect = "signature_missing"\n')
    assert check.main([*odd, "-c", str(config)]) == 0
    config.write_text('[[test]]\nfile = "d.http"\n')
    with pytest.raises(ConfigError, match="admitted was expected"):
        check.main([*odd, "-c", str(config)])
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "[H102]" in captured.err


def test_an_unknown_flag_is_told(odd: list[str]):
    with pytest.raises(FlagError, match="unknown flag"):
        check.main([*odd, "--strictly"])
