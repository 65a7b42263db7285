"""``gen-secret``: every secret that is made can be used, and no file is overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from proxy.config.flags import FlagError
from proxy.core.schemes import PROVIDERS, decode_secret
from proxy.core.signing.extras import needs_public_keys
from proxy.tools import gen_secret
from proxy.tools.gen_secret import make_secret

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
    assert gen_secret.main([]) == 0
    assert len(bytes.fromhex(capsys.readouterr().out.strip())) == 32


def test_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "github.secret"
    assert gen_secret.main(["github", "--out", str(path)]) == 0
    secret = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not secret.endswith("\n")
    assert gen_secret.main(["github", "--out", str(path)]) == 1
    assert path.read_text() == secret
    captured = capsys.readouterr()
    assert captured.out == ""
    assert secret not in captured.err


def test_what_is_not_ours_to_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert gen_secret.main(["discord"]) == 1
    assert gen_secret.main(["livekit"]) == 1
    assert gen_secret.main(["--out", str(tmp_path / "no" / "where")]) == 1
    assert "private key" in capsys.readouterr().err
    with pytest.raises(FlagError):
        gen_secret.main(["githob"])
