"""Words that a route's provider does not use are told, with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.problems import rule_of
from proxy.net.clock import Clock
from proxy.tools.lint import lint


def notes_on(folder: Path, provider: str, *argv: str) -> list[str]:
    secret = folder / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef")
    secret.chmod(0o600)
    ends = ["--listen", "127.0.0.1:1", "--upstream", "127.0.0.1:2", "--public-url", "https://hooks.example.com/in"]
    loaded = load([*ends, "--path", "/h", "--provider", provider, "--secret-file", str(secret), *argv], {})
    return [note for note in lint(loaded, Clock.wall()) if rule_of(note) in {"H320", "H321"}]


@pytest.mark.parametrize(
    ("provider", "argv", "told"),
    [
        ("github", ["--event", "pusch"], ["no event type 'pusch': did you mean 'push'?"]),
        ("github", ["--event", "push", "--event", "ping"], []),
        ("gitlab", ["--event", "push"], ["no event type 'push': "]),
        ("bitbucket", ["--event", "repo:push", "--event", "repo:psuh"], ["did you mean 'repo:push'?"]),
        ("sentry", ["--event", "xyzzy"], ["it has comment, error"]),
        ("shopify", ["--event", "xyzzy"], []),  # its list is not known as a whole
        ("github", ["--method", "PUT"], ["sends POST, which `methods` does not name"]),
        ("github", ["--method", "POST", "--method", "PUT"], ["and never PUT"]),
        ("dropbox", ["--method", "POST", "--method", "GET"], []),  # it checks the endpoint so
        ("twilio", ["--method", "GET"], []),
    ],
)
def test_words_of_the_provider(tmp_path: Path, provider: str, argv: list[str], told: list[str]) -> None:
    notes = notes_on(tmp_path, provider, *argv)
    assert len(notes) == len(told)
    assert all(word in note for word, note in zip(told, notes, strict=True))
