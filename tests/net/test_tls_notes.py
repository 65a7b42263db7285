"""What is said of certificates: names, dates, and what is odd about them, on real ones."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import trustme

from proxy.config.load import load
from proxy.config.problems import rule_of
from proxy.config.settings import Loaded
from proxy.net.beyond_ssl import Certificate, Served
from proxy.net.tls import certificate_notes, covers, read_served, sentence

NOW = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def write(folder: Path, ca: trustme.CA, *names: str, begin: dt.timedelta = -DAY, end: dt.timedelta = 60 * DAY) -> str:
    issued = ca.issue_cert(*names, not_before=NOW + begin, not_after=NOW + end)
    path = folder / f"{names[0].removeprefix('*.')}.pem"
    path.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    path.chmod(0o600)
    return str(path)


def loaded(folder: Path, *certs: str, public_url: str = "", silence: str = "") -> Loaded:
    (folder / "secret").write_text("0123456789abcdef")
    (folder / "secret").chmod(0o600)
    text = 'listen = "0.0.0.0:1"\nupstream = "http://127.0.0.1:2"\n' + (f"silence = [{silence}]\n" if silence else "")
    text += "".join(f'[[tls]]\ncert = "{cert}"\n' for cert in certs)
    text += '[route.a]\nprovider = "twilio"\nsecrets = ["file:secret"]\npublic_url = "%s"\n' % public_url  # noqa: UP031
    path = folder / "hookward.toml"
    path.write_text(text if public_url else text.partition("[route.a]")[0])
    return load(["--config", str(path)], {})


def told(load_: Loaded) -> list[str]:
    now = NOW.timestamp()
    notes = certificate_notes(read_served(load_.settings), load_.policy, load_.settings, now)
    return sorted(rule_of(note) for note in notes)


@pytest.mark.parametrize(
    ("begin", "end", "rules", "word", "shown"),
    [
        (-DAY, 60 * DAY, [], "valid", "until 2026-11-30 (60 days)"),
        (-DAY, 13 * DAY, ["H503"], "expires_soon", "(13 days)"),
        (-DAY, DAY / 2, ["H503"], "expires_soon", "(less than a day)"),
        (-9 * DAY, -DAY, ["H501"], "expired", "until 2026-09-30 (EXPIRED)"),
        (2 * DAY, 60 * DAY, ["H502"], "not_yet_valid", "(NOT VALID before 2026-10-03)"),
    ],
)
def test_dates(
    tmp_path: Path, ca: trustme.CA, begin: dt.timedelta, end: dt.timedelta, rules: list[str], word: str, shown: str
) -> None:
    found = loaded(tmp_path, write(tmp_path, ca, "hooks.example.com", begin=begin, end=end))
    assert told(found) == rules
    [one] = read_served(found.settings)
    assert one.state(NOW.timestamp()) == word
    assert sentence(one, NOW.timestamp()).startswith(f"{tmp_path}/hooks.example.com.pem: hooks.example.com; ")
    assert shown in sentence(one, NOW.timestamp())


@pytest.mark.parametrize(
    ("names", "url", "rules"),
    [
        ([["hooks.example.com"]], "https://hooks.example.com", []),
        ([["hooks.example.com"]], "https://HOOKS.example.com:8443/in", []),
        ([["*.example.com"]], "https://hooks.example.com", []),
        ([["hooks.example.com", "www.example.com"]], "https://hooks.example.com", []),
        ([["*.example.com"]], "https://a.hooks.example.com", ["H505", "H506"]),
        ([["other.example.com"]], "https://hooks.example.com", ["H505", "H506"]),
        ([["hooks.example.com"], ["other.example.com"]], "https://hooks.example.com", ["H506"]),
        ([["192.0.2.7"]], "https://192.0.2.7", []),
        ([["hooks.example.com"]], "http://other.example.com", []),
        ([["hooks.example.com"]], "", []),
        ([], "https://hooks.example.com", []),
    ],
)
def test_names(tmp_path: Path, ca: trustme.CA, names: list[list[str]], url: str, rules: list[str]) -> None:
    certs = [write(tmp_path, ca, *each) for each in names]
    assert told(loaded(tmp_path, *certs, public_url=url)) == rules


def test_what_is_silenced_is_not_said(tmp_path: Path, ca: trustme.CA) -> None:
    cert = write(tmp_path, ca, "other.example.com", end=DAY)
    url = "https://hooks.example.com"
    assert told(loaded(tmp_path, cert, public_url=url)) == ["H503", "H505", "H506"]
    assert told(loaded(tmp_path, cert, public_url=url, silence='"H503", "H506"')) == ["H505"]


def test_a_certificate_without_names(tmp_path: Path) -> None:
    found = loaded(tmp_path, public_url="https://hooks.example.com")
    bare = Served("c.pem", (), Certificate((), 0.0, 2e10))
    notes = certificate_notes([bare], found.policy, found.settings, NOW.timestamp())
    assert [rule_of(note) for note in notes] == ["H504", "H505"]
    assert "no names" in sentence(bare, NOW.timestamp())


def test_many_names_are_cut_and_are_no_commands_to_a_terminal() -> None:
    names = ("\033[31m.example", *(f"{n}.example" for n in range(20)))
    said = sentence(Served("c.pem", names, Certificate(names, 0.0, 2e10)), 1.0)
    assert "and 16 more" in said
    assert said.isprintable()


def test_a_file_that_is_gone_is_left_out(tmp_path: Path, ca: trustme.CA) -> None:
    found = loaded(tmp_path, write(tmp_path, ca, "hooks.example.com"))
    (tmp_path / "hooks.example.com.pem").unlink()
    assert read_served(found.settings) == []


def test_which_names_a_certificate_covers() -> None:
    assert covers(["a.example", "*.b.example"], "x.b.example")
    assert not covers(["a.example", "*.b.example"], "b.example")
    assert not covers(["a.example", "*.b.example"], "x.y.b.example")
