"""``gen-secret``: every secret that is made can be used, and no file is overwritten."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.proof import needs_public_keys
from proxy.errors import ConfigError, FlagError
from proxy.tools.providers import GenSecret, make_secret

NOT_OURS = {slug for slug, p in PROVIDERS.items() if p.scheme and (p.scheme.two_part or needs_public_keys(p.scheme))}


@pytest.mark.parametrize("slug", PROVIDERS)
def test_what_is_made_can_be_used(slug: str):
    provider = PROVIDERS[slug]
    if slug in NOT_OURS:
        with pytest.raises(ValueError, match="copy"):
            make_secret(provider)
        return
    text = make_secret(provider)
    assert text.isascii()
    assert text == text.strip()
    assert len(decode_secret(provider, text.encode())) >= 32
    assert make_secret(provider) != text


def test_without_a_provider(capsys: pytest.CaptureFixture[str]):
    assert GenSecret().main([]) == 0
    assert len(bytes.fromhex(capsys.readouterr().out.strip())) == 32


def test_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "github.secret"
    assert GenSecret().main(["github", "--out", str(path)]) == 0
    secret = path.read_text()
    # What root makes, the group of its folder may read.
    assert stat.S_IMODE(path.stat().st_mode) == (0o640 if os.geteuid() == 0 else 0o600)
    assert path.stat().st_gid == tmp_path.stat().st_gid
    assert not secret.endswith("\n")
    assert GenSecret().main(["github", "--out", str(path)]) == 1
    assert path.read_text() == secret
    captured = capsys.readouterr()
    assert captured.out == ""
    assert secret not in captured.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_service_reads_what_root_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "etc"
    folder.mkdir()
    os.chown(folder, 0, nobody.pw_gid)
    assert GenSecret().main(["github", "--out", str(folder / "a")]) == 0
    made = (folder / "a").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (0, nobody.pw_gid, 0o640)
    assert GenSecret().main(["--out", str(tmp_path / "new" / "deep" / "b"), "--group", str(nobody.pw_gid)]) == 0
    made, around = (tmp_path / "new" / "deep" / "b").stat(), (tmp_path / "new" / "deep").stat()
    assert (made.st_gid, stat.S_IMODE(made.st_mode)) == (nobody.pw_gid, 0o640)
    assert (around.st_gid, stat.S_IMODE(around.st_mode)) == (nobody.pw_gid, 0o750)
    assert GenSecret().main(["--out", str(folder / "c"), "--owner", "nobody"]) == 0
    made = (folder / "c").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (nobody.pw_uid, 0o600)
    assert "nobody" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no group 'nosuch'"):
        GenSecret().main(["--out", str(folder / "d"), "--group", "nosuch"])
    assert not (folder / "d").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works in folders of others")
def test_root_makes_no_secret_through_another_users_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nobody = pwd.getpwnam("nobody")
    theirs, treasure = tmp_path / "theirs", tmp_path / "treasure"
    for folder in (theirs, treasure):
        folder.mkdir()
    (theirs / "keys").symlink_to(treasure)
    (theirs / "file").symlink_to(treasure / "new")
    for path in (theirs, theirs / "keys", theirs / "file"):
        os.lchown(path, nobody.pw_uid, nobody.pw_gid)
    assert GenSecret().main(["--out", str(theirs / "keys" / "new")]) == 1
    assert GenSecret().main(["--out", str(theirs / "file")]) == 1
    assert GenSecret().main(["--out", str(theirs / "keys" / "deep" / "new"), "--group", str(nobody.pw_gid)]) == 1
    assert list(treasure.iterdir()) == []
    assert "symbolic link that another user made" in capsys.readouterr().err


def test_what_a_provider_makes_itself_is_said(capsys: pytest.CaptureFixture[str]):
    assert GenSecret().main(["slack"]) == 0
    assert "Slack makes the secret itself: copy it from there" in capsys.readouterr().err
    assert GenSecret().main(["github"]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_not_ours_to_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert GenSecret().main(["discord"]) == 1
    assert GenSecret().main(["livekit"]) == 1
    (tmp_path / "file").touch()
    assert GenSecret().main(["--out", str(tmp_path / "file" / "below")]) == 1
    assert "private key" in capsys.readouterr().err
    with pytest.raises(FlagError):
        GenSecret().main(["githob"])
