from __future__ import annotations

import pytest

from proxy.config.guarded_files import beside, folder_of


@pytest.mark.parametrize(
    ("folder", "path", "found"),
    [
        ("", "a.toml", "a.toml"),
        ("", "./a.toml", "./a.toml"),
        ("conf", "a.toml", "conf/a.toml"),
        ("conf", "../a.toml", "conf/../a.toml"),
        ("conf", "/etc/a.toml", "/etc/a.toml"),
    ],
)
def test_a_path_stays_as_it_was_typed(folder: str, path: str, found: str) -> None:
    assert beside(folder, path) == found


@pytest.mark.parametrize(("path", "folder"), [("a.toml", ""), ("./a.toml", "."), ("/a.toml", "/"), ("b/c/a", "b/c")])
def test_the_folder_of_a_path(path: str, folder: str) -> None:
    assert folder_of(path) == folder
