"""The list of providers is the catalogue."""

from __future__ import annotations

import json

import pytest

from proxy.config.flags import FlagError
from proxy.core.schemes import PROVIDERS
from proxy.tools.providers import COLUMNS, MAX_CELL, main, provider_named


def test_the_table_has_every_provider_once(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "PROVIDER"
    assert [row.split()[0] for row in rows] == list(PROVIDERS)
    assert all(row.isascii() and row.isprintable() for row in rows)
    widest = max(len(row) - len(row.split()[-1]) for row in rows)
    assert widest <= (MAX_CELL + 2) * (len(COLUMNS) - 1)
    assert any("... " in row for row in rows), "a hundred headers do not fit"


def test_json_has_every_column(capsys: pytest.CaptureFixture[str]):
    assert main(["--json"]) == 0
    rows = {row["provider"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(PROVIDERS)
    assert all(set(row) == {*COLUMNS, "title", "note"} for row in rows.values())
    assert rows["github"]["header"] == "x-hub-signature-256"
    assert rows["github"]["algorithm"] == "HMAC-SHA256 hex"
    assert rows["github"]["signed"] == "{body}"
    assert rows["slack"]["window"] == "300 s"
    assert rows["slack"]["handshake"] == "signed POST type=url_verification challenge="
    assert rows["github"]["handshake"] == "-"
    assert rows["docusign"]["header"].endswith("x-docusign-signature-100")
    assert rows["gitlab"]["algorithm"] == "token"


def test_words_choose(capsys: pytest.CaptureFixture[str]):
    assert main(["git-lab", "SLACK", "--json"]) == 0
    assert {row["provider"] for row in json.loads(capsys.readouterr().out)} == {s for s in PROVIDERS if "slack" in s}


def test_what_one_should_know_of_those_that_were_asked_for(capsys: pytest.CaptureFixture[str]):
    for slug in ("wise", "ebay", "paypal"):
        assert main([slug]) == 0
        assert f"\n{slug}: {PROVIDERS[slug].note}\n" in capsys.readouterr().out
        assert "signs for all" in PROVIDERS[slug].note
    assert main([]) == 0
    assert PROVIDERS["wise"].note not in capsys.readouterr().out


def test_a_word_that_fits_nothing_is_told(capsys: pytest.CaptureFixture[str]):
    assert main(["no-such-provider"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no_such_provider" in captured.err


def test_bad_flags():
    with pytest.raises(SystemExit) as ended:
        main(["--yaml"])
    assert ended.value.code == 64


@pytest.mark.parametrize(
    ("name", "said"),
    [("githob", "'github'"), ("Standard-Webhook", "'standard_webhooks'"), ("zzzzzz", "hookward providers")],
)
def test_an_unknown_name_is_answered_with_what_was_probably_meant(name: str, said: str):
    assert provider_named("GitHub") is PROVIDERS["github"]
    with pytest.raises(FlagError, match=said):
        provider_named(name)
