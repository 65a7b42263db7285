from __future__ import annotations

import pytest

from proxy.config.admission import AllowReader
from proxy.config.problems import Problems
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet, Peer
from proxy.errors import Place
from tests.config.loading import ENDS, Workplace


def allowing(*entries: str) -> str:
    return ENDS + f"[route.a]\nallow = {list(entries)!r}\n"


def admitted(place: Workplace, *entries: str) -> AddressSet:
    found = place.routes(allowing(*entries))["a"].allow
    assert found is not None
    return found


def test_networks_and_addresses(place: Workplace) -> None:
    found = admitted(place, "192.0.2.0/24", "2001:db8::1", "unix:")
    assert Peer.of("192.0.2.9") in found
    assert Peer.of("2001:db8::1") in found
    assert Peer.of("2001:db8::2") not in found
    assert Peer.unix() in found


def test_lists_in_files(place: Workplace) -> None:
    (place.folder / "office.txt").write_text("# office\n198.51.100.0/25\n\n  203.0.113.7  # door\n")
    for entry in ("file:office.txt", f"file:{place.folder}/office.txt"):
        found = admitted(place, entry)
        assert Peer.of("198.51.100.1") in found
        assert Peer.of("203.0.113.7") in found
        assert len(found) == 2


SETS = {"github": AddressSet.parse(["192.0.2.0/24"]), "atlassian?product=jira": AddressSet.parse(["198.51.100.1"])}


def resolve(name: str, query: str) -> AddressSet | None:
    if query == "bad":
        raise ValueError("known queries are product=")
    return SETS.get(f"{name}?{query}" if query else name)


def read_sets(*entries: str) -> tuple[AddressSet | None, Problems]:
    problems = Problems()
    view = Table(problems)
    view.put(("allow",), entries, Place("h.toml", 1, ("allow",)))
    return AllowReader(resolve, sorted(SETS)).read(view, "allow"), problems


def test_published_sets() -> None:
    found, problems = read_sets("set:github", "set:atlassian?product=jira", "10.0.0.1")
    assert not problems.found
    assert found is not None
    assert all(Peer.of(text) in found for text in ("192.0.2.1", "198.51.100.1", "10.0.0.1"))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("entry", "what", "mend"),
    [
        ("set:githob", "no address set 'githob'", "did you mean 'github'?"),
        ("set:zzz", "no address set 'zzz'", "known are: atlassian?product=jira, github"),
        ("set:a b", "not the name", "set:NAME"),
        ("set:", "not the name", "set:NAME"),
        ("192.0.2.0/24,198.51.100.7", "several addresses", "give the flag once for each"),
        ("set:github?bad", "'github?bad' cannot be used", "known queries are product="),
    ],
)
def test_mistakes_about_sets(entry: str, what: str, mend: str) -> None:
    _, problems = read_sets("10.0.0.1", entry)
    [problem] = problems.found
    assert problem.where == "h.toml:1: allow[1]"
    assert what in problem.what
    assert mend in problem.mend


def test_a_set_is_an_error_where_none_are_known() -> None:
    problems = Problems()
    view = Table(problems)
    view.put(("allow",), ("set:github",), Place.of("--allow"))
    AllowReader(lambda _name, _query: None, ()).read(view, "allow")
    assert [(p.where, p.mend) for p in problems.found] == [("--allow", "no address sets are known here")]


@pytest.mark.parametrize(
    ("entry", "what", "mend"),
    [
        ("10.0.0.1/8", "host bits", "10.0.0.0/8"),
        ("example.com", "not an address", "192.0.2.7"),
        ("10.0.0.0/33", "prefix length", "192.0.2.0/24"),
        ("file:/nowhere/x", "cannot be read", "readable file"),
        ("file:", "cannot be read", "readable file"),
        ("file:empty.txt", "no address would be let in", "one address"),
    ],
)
def test_mistakes(place: Workplace, entry: str, what: str, mend: str) -> None:
    (place.folder / "empty.txt").write_text("# nothing\n")
    [problem] = place.problems(allowing("192.0.2.1", entry))
    assert problem.where == "hookward.toml:4: route.a.allow[1]"
    assert what in problem.what
    assert mend in problem.mend


def test_every_wrong_line_of_a_list_is_named(place: Workplace) -> None:
    (place.folder / "l.txt").write_text("10.0.0.0/8\nfoo\n# bar\n10.0.0.1/8\n")
    assert place.places(allowing("file:l.txt")) == ["l.txt:2", "l.txt:4"]


def test_a_huge_list_is_refused(place: Workplace) -> None:
    (place.folder / "l.txt").write_bytes(b"#" * (64 * 1024 * 1024 + 1))
    assert "64MiB" in place.problems(allowing("file:l.txt"))[0].what


def test_of_very_many_mistakes_the_first_are_told(place: Workplace) -> None:
    (place.folder / "l.txt").write_text("x\n" * 10_000)
    problems = place.problems(allowing("file:l.txt"))
    assert len(problems) == 101
    assert "more mistakes" in problems[0].what
    assert [one.where for one in problems[1:3]] == ["l.txt:1", "l.txt:2"]


def test_a_list_that_routes_share_is_read_once(place: Workplace) -> None:
    (place.folder / "l.txt").write_text("192.0.2.0/24\n")
    text = ENDS + "".join(f'[route.{name}]\npath = "/{name}"\nallow = "file:l.txt"\n' for name in "ab")
    one, two = place.routes(text).values()
    assert one.allow is two.allow
