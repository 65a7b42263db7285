"""From ``set:NAME?query`` in a configuration to addresses, by the newest copy there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.load import load, load_sets
from proxy.config.set_shelf import FEEDS, Copy, SetShelf, stored_path, write_stored
from proxy.config.settings import Loaded
from proxy.core.addresses import Peer
from proxy.core.ip_sets import listing_of
from proxy.errors import ConfigError

NOW = 1_796_000_000.0  # 2026-11-30
ENDS = 'listen = "0.0.0.0:8443"\nupstream = "127.0.0.1:8000"\n'
ATLASSIAN = listing_of({
    (("product", ("bitbucket",)), ("region", ("us-east-1",))): ["192.0.2.0/24"],
    (("product", ("jira", "trello")), ("region", ("global",))): ["203.0.113.0/24"],
})  # fmt: skip


class Setting:
    """A configuration, a shelf, and a state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelf = SetShelf()

    def load(self, text: str, *, now: float = NOW) -> Loaded:
        path = self.folder / "hookward.toml"
        path.write_text(f'{ENDS}state_dir = "state"\n{text}')
        return load(["--config", str(path)], {}, now=now, shelf=self.shelf)

    def store(self, name: str, copy: Copy) -> None:
        write_stored(str(self.folder / "state"), FEEDS[name], copy)

    def problem(self, text: str) -> tuple[str, str]:
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        [problem] = caught.value.problems
        return problem.what, problem.mend


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def admits(loaded: Loaded, text: str) -> bool:
    assert loaded.policy.admission is not None
    return Peer.of(text) in loaded.policy.admission


def test_a_packaged_copy_answers(setting: Setting):
    loaded = setting.load('allow = ["set:github", "198.51.100.1"]')
    assert admits(loaded, "192.30.252.9")
    assert admits(loaded, "2606:50c0::1")
    assert admits(loaded, "198.51.100.1")
    assert not admits(loaded, "192.0.2.1")
    assert not loaded.settings.warnings
    assert list(loaded.sets.used) == [("github", "")]


@pytest.mark.parametrize("text", ['allow = "set:svix?region=us"', 'allow = ["set:SVIX?region=US&region=us"]'])
def test_a_query_narrows(setting: Setting, text: str):
    loaded = setting.load(text)
    assert admits(loaded, "44.228.126.217")
    assert not admits(loaded, "52.215.16.239")


def test_the_newest_copy_is_used(setting: Setting):
    setting.store("github", Copy(listing_of({(): ["192.0.2.0/24"]}), NOW - 60, "feed"))
    assert admits(setting.load('allow = "set:github"'), "192.0.2.1")
    setting.store("gitlab", Copy(listing_of({(): ["192.0.2.0/24"]}), 1_700_000_000.0, "feed"))
    assert not admits(setting.load('allow = "set:gitlab"'), "192.0.2.1")
    setting.shelf.put(FEEDS["github"], Copy(listing_of({(): ["203.0.113.0/24"]}), NOW - 30, "feed"))
    assert not admits(setting.load('allow = "set:github"'), "192.0.2.1")
    setting.store("github", Copy(listing_of({(): ["192.0.2.0/24"]}), NOW - 10, "feed"))
    assert admits(setting.load('allow = "set:github"'), "192.0.2.1")


def test_a_damaged_copy_is_said_and_the_next_best_used(setting: Setting):
    setting.store("github", Copy(listing_of({(): ["192.0.2.0/24"]}), NOW - 60, "feed"))
    path = stored_path(str(setting.folder / "state"), FEEDS["github"])
    path.write_text("{")
    loaded = setting.load('allow = "set:github"')
    assert admits(loaded, "192.30.252.9")
    assert any("damaged" in warning for warning in loaded.settings.warnings)


def test_an_alias_asks_another_list(setting: Setting):
    setting.store("atlassian", Copy(ATLASSIAN, NOW - 60, "feed"))
    loaded = setting.load('allow = "set:bitbucket"')
    assert admits(loaded, "192.0.2.1")
    assert not admits(loaded, "203.0.113.1")
    assert list(loaded.sets.used) == [("atlassian", "product=bitbucket")]
    assert admits(setting.load('allow = "set:trello"'), "203.0.113.1")


def test_an_alias_of_two_lists_is_both(setting: Setting):
    setting.store("pagerduty_us", Copy(listing_of({(): ["192.0.2.1"]}), NOW - 60, "feed"))
    loaded = setting.load('allow = "set:pagerduty"')
    assert admits(loaded, "192.0.2.1")
    assert [feed.name for feed in loaded.sets.missing] == ["pagerduty_eu"]


def test_a_list_without_a_copy_admits_nobody_and_says_so(setting: Setting):
    loaded = setting.load('allow = ["set:aws?service=EC2", "198.51.100.1"]')
    assert not admits(loaded, "192.0.2.1")
    assert admits(loaded, "198.51.100.1")
    [warning] = loaded.settings.warnings
    assert "set:aws: no copy of this list is here yet, so it admits no address" in warning


def test_a_route_whose_only_list_is_missing_is_closed_not_open(setting: Setting):
    loaded = setting.load('[route.a]\nallow = "set:aws?service=EC2"')
    assert loaded.policy.admission is not None
    assert not loaded.policy.admission


def test_an_old_copy_is_mentioned(setting: Setting):
    assert not setting.load('allow = "set:stripe"', now=NOW + 400 * 86400).settings.warnings
    never = '[ip_set.stripe]\nrefresh = "0s"'
    loaded = setting.load(f'allow = "set:stripe"\n{never}', now=NOW + 400 * 86400)
    assert any("last confirmed 457 days ago" in warning for warning in loaded.settings.warnings)
    setting.store("github", Copy(listing_of({(): ["192.0.2.0/24"]}), NOW, "feed"))
    loaded = setting.load('allow = "set:github"', now=NOW + 31 * 86400)
    assert any("31 days ago" in warning for warning in loaded.settings.warnings)


def test_a_mirror_has_nothing_of_the_packaged_copy(setting: Setting):
    loaded = setting.load('allow = "set:gitlab"\n[ip_set.gitlab]\nurl = "https://git.example.com/ranges.txt"')
    assert not admits(loaded, "34.74.90.65")
    assert [feed.url for feed in loaded.sets.missing] == ["https://git.example.com/ranges.txt"]


@pytest.mark.parametrize(
    ("text", "what", "mend"),
    [
        ('allow = "set:githbu"', "there is no address set 'githbu'", "did you mean 'github'?"),
        ('allow = "set:github?x=1"', "the address set 'github?x=1' cannot be used", "it cannot be asked for 'x'"),
        ('allow = "set:svix?region=mars"', "'svix?region=mars' cannot be used", "there is au, ca, eu, in, us"),
        ('allow = "set:svix?region"', "cannot be used", "not of the form name=value"),
        ('allow = "set:bitbucket?region=x"', "cannot be used", "ask set:atlassian instead"),
        ('allow = "set:azure?name=X"', "cannot be used", "add [ip_set.azure] with url"),
        ('allow = "set:"', "not the name of an address set", 'write "set:NAME"'),
        ('allow = "192.0.2.1"\n[ip_set.office]\nrefresh = "1h"', "does not say where the list is", "add url"),
        ('allow = "192.0.2.1"\n[ip_set.office]\nurl = "http://example.com/"', "without TLS", "write https://"),
        (
            'allow = "192.0.2.1"\n[ip_set.office]\nurl = "https://example.com/"\njson = "a["',
            "not a path",
            "prefixes[].cidr",
        ),
    ],
)
def test_mistakes(setting: Setting, text: str, what: str, mend: str):
    found_what, found_mend = setting.problem(text)
    assert what in found_what
    assert mend in found_mend


def test_what_was_selected_is_kept_until_the_list_changes(setting: Setting):
    feed = FEEDS["atlassian"]
    copy = Copy(ATLASSIAN, 1.0, "feed")
    assert not setting.shelf.select(feed, "")
    setting.shelf.put(feed, copy)
    first = setting.shelf.select(feed, "product=jira")
    setting.shelf.put(feed, replace(copy, confirmed=2.0))
    assert setting.shelf.select(feed, "product=jira") is first
    setting.shelf.put(feed, Copy(listing_of({(("product", ("jira",)),): ["192.0.2.9"]}), 3.0, "feed"))
    assert Peer.of("192.0.2.9") in setting.shelf.select(feed, "product=jira")


def test_the_sets_of_a_configuration_are_known_without_its_secrets(tmp_path: Path):
    path = tmp_path / "hookward.toml"
    path.write_text(
        f'{ENDS}state_dir = "state"\nallow = ["set:github", "192.0.2.1"]\n'
        '[route.a]\nprovider = "github"\nsecrets = ["file:/nowhere/at.all"]\nallow = "set:office"\nunknown = 1\n'
        '[ip_set.office]\nurl = "https://example.com/"\n'
    )
    sets = load_sets(str(path), None, {})
    assert sets.state_dir == str(tmp_path / "state")
    assert sets.used == ("set:github", "set:office")
    assert sets.feeds["office"].url == "https://example.com/"
    assert load_sets(None, "/elsewhere", {"HOOKWARD_CONFIG": str(path)}).state_dir == "/elsewhere"
    assert load_sets(None, None, {"HOOKWARD_STATE_DIR": "/here"}).state_dir == "/here"
    assert load_sets(None, None, {}).used == ()


@pytest.mark.parametrize(
    "text", ["this is not TOML", '[ip_set.office]\nurl = "http://example.com/"', "[ip_set.office]\nurl = 1"]
)
def test_what_is_wrong_with_the_sets_themselves_is_told(tmp_path: Path, text: str):
    path = tmp_path / "hookward.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_sets(str(path), None, {})
    with pytest.raises(ConfigError):
        load_sets(str(tmp_path / "nothing.toml"), None, {})
