"""``init``: a file that can be used as it stands, a secret, and what is next; never over what is there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import needs_public_keys
from proxy.errors import FlagError
from proxy.tools import check, init
from proxy.tools.providers import make_secret
from tests.whole.process import ROOT, environment
from tests.whole.wire import PATIENCE_S

USABLE = [slug for slug, p in PROVIDERS.items() if p.scheme is None or not needs_public_keys(p.scheme)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_file_and_what_is_next(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init.main(["github"]) == 0
    said = capsys.readouterr().out
    secret = (here / "github.secret").read_text()
    assert secret not in said
    assert "URL      https://hooks.example.com/hooks/github" in said
    assert [line.split()[-1] for line in said.splitlines()[-3:]] == ["hookward.toml"] * 3
    assert [word for word in ("check", "run", "send github --config") if f" {word} " not in said] == []
    assert check.main(["--elsewhere", "--strict", "hookward.toml"]) == 0


@pytest.mark.parametrize("slug", USABLE)
def test_the_file_of_each_provider_can_be_used(slug: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provider = PROVIDERS[slug]
    assert init.main([slug, "made/"]) == 0
    said = capsys.readouterr().out
    secret = here / "made" / f"{slug}.secret"
    assert secret.exists() is provider.chosen
    assert (f"{provider.title} makes the secret itself" in said) is not provider.chosen
    if not provider.chosen:
        two_part = provider.scheme is not None and provider.scheme.two_part
        secret.write_text("first:0123456789abcdef" if two_part else make_secret(provider))
        secret.chmod(0o600)
    [route] = load(["made/hookward.toml"], {}).policy.routes
    assert (route.provider, route.path.decode()) == (slug, f"/hooks/{slug}")
    assert "tls" not in route.name


def test_nothing_is_written_over(here: Path) -> None:
    (here / "hookward.toml").write_text("mine")
    with pytest.raises(FlagError, match="is there already"):
        init.main(["github"])
    assert sorted(path.name for path in here.iterdir()) == ["hookward.toml"]
    (here / "github.secret").write_text("0123456789abcdef0123456789abcdef")
    assert init.main(["github", "other.toml"]) == 0
    assert (here / "github.secret").read_text() == "0123456789abcdef0123456789abcdef"
    (here / "link.toml").symlink_to("nowhere")
    with pytest.raises(FlagError, match="is there already"):
        init.main(["github", "link.toml"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_a_secret_that_somebody_else_put_there_is_not_taken(here: Path) -> None:
    (here / "github.secret").write_text("known to somebody else, and long")
    os.chown(here / "github.secret", 65534, -1)
    with pytest.raises(FlagError, match="is another user's"):
        init.main(["github"])
    (here / "github.secret").unlink()
    (here / "github.secret").symlink_to("/dev/null")
    with pytest.raises(FlagError, match="is another user's"):
        init.main(["github"])
    assert not (here / "hookward.toml").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another group")
def test_what_root_copies_is_read_by_the_group_of_its_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "etc").mkdir()
    os.chown(here / "etc", -1, 65534)
    assert init.main(["slack", "etc/"]) == 0
    [command] = [line for line in capsys.readouterr().out.splitlines() if "install" in line]
    subprocess.run(command, shell=True, check=True, input=b"0123456789abcdef0123456789abcdef")
    status = (here / "etc" / "slack.secret").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 65534, 0o640)


def test_a_file_is_of_any_characters(here: Path) -> None:
    socket = "unix:/run/\N{LATIN SMALL LETTER U WITH DIAERESIS}.sock"
    assert init.main(["github", "--upstream", socket]) == 0
    assert socket in (here / "hookward.toml").read_text("utf-8")
    assert check.main(["--elsewhere", "hookward.toml"]) == 0


def test_flags_are_in_the_file(here: Path) -> None:
    flags = ["--listen", "127.0.0.1:9999", "--upstream", "http://127.0.0.1:9000", "--path", "/in", "--public-url"]
    assert init.main(["twilio", *flags, "https://a.example"]) == 0
    text = (here / "hookward.toml").read_text()
    for word in ('["127.0.0.1:9999"]', '"http://127.0.0.1:9000"', '"/in"', '"https://a.example/in"'):
        assert word in text


def test_values_that_cannot_be_used_are_all_told(here: Path) -> None:
    with pytest.raises(FlagError) as caught:
        init.main(["github", "--listen", "x", "--path", "y"])
    assert [problem.where for problem in caught.value.problems] == ["--listen", "--path"]
    with pytest.raises(FlagError, match="did you mean 'github'"):
        init.main(["githob"])
    assert list(here.iterdir()) == []


def test_without_a_terminal_it_asks_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _text: pytest.fail("it asked"))
    assert init.main([]) == 0
    assert (here / "github.secret").exists()


def test_on_a_terminal_it_asks(here: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "init"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=here,
        env=environment({"PYTHONPATH": str(ROOT)}),
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b"githob\nslack\n\nhttp://127.0.0.1:9000\n\n\nmine.toml\n")
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the other end is closed
        pass
    assert process.wait(PATIENCE_S) == 0, said
    os.close(ours)
    assert b"did you mean 'github'?" in said
    assert b"Slack makes the secret itself" in said
    assert 'upstream = "http://127.0.0.1:9000"' in (here / "mine.toml").read_text()
