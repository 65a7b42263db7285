"""Secrets of commands come by reference, and what is wrong with one never shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.parsers import Parser
from proxy.core.schemes import PROVIDERS
from proxy.errors import ConfigError
from proxy.tools.send import add_secret_flags, read_secret


def read(provider: str, *argv: str, environ: dict[str, str] | None = None) -> bytes:
    parser = Parser()
    add_secret_flags(parser)
    return read_secret(parser.parse_args(argv), PROVIDERS[provider], environ or {})


def test_from_a_file_and_a_variable(tmp_path: Path):
    (tmp_path / "s").write_bytes(b"a secret\n")
    assert read("github", "--secret-file", str(tmp_path / "s")) == b"a secret"
    assert read("github", "--secret-env", "S", environ={"S": "x y"}) == b"x y"
    assert read("svix", "--secret-env", "S", environ={"S": "whsec_AAAA"}) == b"\0\0\0"


@pytest.mark.parametrize("argv", [["--secret-file", "/no/such"], ["--secret-env", "NONE"], ["--secret-env", "BAD"]])
def test_what_is_wrong_is_said_without_it(argv: list[str]):
    with pytest.raises(ConfigError) as caught:
        read("svix", *argv, environ={"BAD": "not base64 !"})
    assert "not base64" not in str(caught.value)


def test_one_of_both_is_given():
    with pytest.raises(SystemExit) as caught:
        read("github", "--secret-file", "a", "--secret-env", "b")
    assert caught.value.code == 64
