from __future__ import annotations

from proxy.config.problems import Problems
from proxy.config.tree import Entry, Table
from proxy.errors import Path, Place, dotted

HERE = Place("here")


def tree(**entries: object) -> Table:
    top = Table(Problems())
    for path, value in entries.items():
        top.put(way(path), value, HERE)
    return top


def way(path: str) -> Path:
    return tuple(int(part) if part.isdigit() else part for part in path.split("__"))


def values(top: Table) -> dict[str, object]:
    return {dotted(path): entry.value for path, entry in top.leaves()}


def test_the_higher_tree_wins_key_by_key() -> None:
    merged = tree(workers=1, open=False, limits__max_body=5).under(tree(workers=2))
    assert values(merged) == {"workers": 2, "open": False, "limits.max_body": 5}
    merged = tree(limits__max_body=5, limits__max_head=6).under(tree(limits__max_body=7))
    assert values(merged) == {"limits.max_body": 7, "limits.max_head": 6}


def test_secrets_and_upstreams_are_replaced_as_a_whole() -> None:
    file = tree(
        upstream__0__url="a",
        upstream__1__url="b",
        route__default__secrets__0__from="file:a",
        route__default__secrets__1__from="file:b",
        route__x__secrets__0__from="file:c",
    )
    merged = file.under(tree(route__default__secrets__0__from="env:N", upstream__0__url="c"))
    assert values(merged) == {
        "upstream[0].url": "c",
        "route.default.secrets[0].from": "env:N",
        "route.x.secrets[0].from": "file:c",
    }


def test_a_certificate_of_a_flag_is_the_only_one() -> None:
    file = tree(tls__0__cert="a", tls__0__key="k", tls__1__cert="b")
    merged = file.under(tree(tls__0__cert="c"))
    assert values(merged) == {"tls[0].cert": "c", "tls[0].key": "k"}


def test_laying_over_changes_neither() -> None:
    low, high = tree(limits__max_body=5), tree(limits__max_body=7, route__a__exact=True)
    low.under(high)
    assert values(low) == {"limits.max_body": 5}
    assert values(high) == {"limits.max_body": 7, "route.a.exact": True}


def test_tables_are_asked_by_their_key() -> None:
    one = tree(route__b__path=b"/", route__a__path=b"/x", tls__0__cert="a", tls__1__cert="b")
    assert list(one.named("route")) == ["b", "a"]
    assert one.named("route")["a"].need("path", bytes) == b"/x"
    assert [table.get("cert", str) for table in one.tables("tls")] == ["a", "b"]
    assert one.named("tcp") == {}
    assert one.tables("test") == []
    assert not one.table("duplicates").exists
    assert one.table("duplicates").need("store", str) == "memory"


def test_a_table_has_the_defaults_of_the_schema() -> None:
    view = tree(route__a__exact=True).named("route")["a"]
    assert view.get("exact", bool) is True
    assert view.need("path", bytes) == b"/"
    assert view.items("methods", bytes) == (b"POST",)
    assert view.items("events", str) == ()
    assert view.get("provider", str) is None
    assert view.exists
    assert "path" not in view


def test_files_start_from_the_folder_that_names_them() -> None:
    top = Table(Problems())
    top.put(("tls", 0, "cert"), "a.pem", HERE, "/etc/h")
    top.put(("tls", 0, "key"), "/k.pem", HERE, "/etc/h")
    top.put(("state_dir",), "x", HERE)
    [view] = top.tables("tls")
    assert (view.file("cert"), view.file("key")) == ("/etc/h/a.pem", "/k.pem")
    assert top.file("state_dir") == "x"


def test_where() -> None:
    view = Table(Problems(), "route", ("route", "a"), Place("f", 1, ("route", "a")))
    view.put(("path",), b"/", Place("f", 2, ("route", "a", "path")))
    assert str(view.where("path")) == "f:2: route.a.path"
    assert str(view.where("exact")) == "f:1: route.a"
    assert str(view.where()) == "f:1: route.a"
    assert str(Table(Problems(), "route", ("route", "b")).where()) == "route.b"
    assert str(Table(Problems()).where("listen")) == "listen"
    assert str(Table(Problems()).where()) == "the configuration"
    top = Table(Problems())
    top.put(("route", "a", "path"), b"/", Place.of("--path"))
    assert str(top.named("route")["a"].where()) == "--path"


def test_mistakes_and_warnings_have_the_place_of_their_key() -> None:
    top = tree(drain=1.0)
    top.wrong("drain", "is wrong", "mend it")
    top.warn("H101", "drain", "is odd")
    assert [str(one) for one in top.problems.found] == ["here: is wrong\n    mend it"]
    assert top.problems.warnings == ["here: is odd"]


def test_doubt() -> None:
    one = tree(route__a__path=b"/")
    one.problems.doubt(("route", "a", "secrets", 1))
    view = one.named("route")["a"]
    assert view.doubtful("secrets")
    assert one.doubtful("route")
    assert not view.doubtful("path", "token")
    one.problems.unreadable = True
    assert view.doubtful("path")


def test_no_value_in_repr() -> None:
    assert "hunter2" not in repr(Entry("hunter2", HERE))
