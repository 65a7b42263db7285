from __future__ import annotations

from proxy.config.tree import Entry, Tree


def tree(**entries: object) -> Tree:
    return Tree(
        {
            tuple(int(p) if p.isdigit() else p for p in path.split("__")): Entry(value, "here")
            for path, value in entries.items()
        }
    )


def test_the_higher_tree_wins_key_by_key() -> None:
    merged = tree(workers=1, open=False, limits__max_body=5).under(tree(workers=2))
    assert {path: entry.value for path, entry in merged.entries.items()} == {
        ("workers",): 2,
        ("open",): False,
        ("limits", "max_body"): 5,
    }


def test_secrets_are_replaced_as_a_whole() -> None:
    file = tree(
        route__default__secrets__0__from="file:a",
        route__default__secrets__1__from="file:b",
        route__x__secrets__0__from="file:c",
    )
    merged = file.under(tree(route__default__secrets__0__from="env:N"))
    assert [entry.value for entry in merged.entries.values()] == ["file:c", "env:N"]


def test_a_certificate_of_a_flag_is_the_only_one() -> None:
    file = tree(tls__0__cert="a", tls__0__key="k", tls__1__cert="b")
    merged = file.under(tree(tls__0__cert="c"))
    assert {path: entry.value for path, entry in merged.entries.items()} == {
        ("tls", 0, "cert"): "c",
        ("tls", 0, "key"): "k",
    }


def test_names_and_indexes() -> None:
    one = tree(route__b__path=b"/", route__a__path=b"/", tls__0__cert="a", tls__2__cert="b")
    assert one.names("route") == ["b", "a"]
    assert one.indexes("tls") == [0, 2]


def test_a_view_has_the_defaults_of_the_schema() -> None:
    view = tree(route__a__exact=True).view("route", "route", "a")
    assert view.get("exact", bool) is True
    assert view.need("path", bytes) == b"/"
    assert view.items("methods", bytes) == (b"POST",)
    assert view.items("events", str) == ()
    assert view.get("provider", str) is None
    assert view.exists
    assert "path" not in view


def test_files_start_from_the_folder_that_names_them() -> None:
    entries = {("tls", 0, "cert"): Entry("a.pem", "x", "/etc/h"), ("tls", 0, "key"): Entry("/k.pem", "x", "/etc/h")}
    view = Tree(entries).view("tls", "tls", 0)
    assert (view.file("cert"), view.file("key")) == ("/etc/h/a.pem", "/k.pem")
    assert Tree({("state_dir",): Entry("x", "--state-dir")}).view("").file("state_dir") == "x"


def test_where() -> None:
    one = Tree({("route", "a"): Entry(None, "f:1: route.a"), ("route", "a", "path"): Entry(b"/", "f:2: route.a.path")})
    view = one.view("route", "route", "a")
    assert view.where("path") == "f:2: route.a.path"
    assert view.where("exact") == "f:1: route.a"
    assert view.where() == "f:1: route.a"
    assert one.view("route", "route", "b").where() == "route.b"
    assert one.view("").where("listen") == "listen"
    assert Tree({("route", "a", "path"): Entry(b"/", "--path")}).view("route", "route", "a").where() == "--path"


def test_doubt() -> None:
    one = tree()
    one.broken.add(("route", "a", "secrets", 1))
    view = one.view("route", "route", "a")
    assert view.doubtful("secrets")
    assert not view.doubtful("path", "token")
    one.broken.add(())
    assert view.doubtful("path")


def test_no_value_in_repr() -> None:
    assert "hunter2" not in repr(Entry("hunter2", "x"))
