"""Credentials in the place of the files that a configuration names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.load import credential_name
from tests.config.loading import ENDS, SECRET, Workplace

ROUTE = '[route.a]\nprovider = "github"\nsecrets = ["file:other.secret"]\n'


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/etc/hookward/github.secret", r"github\.secret-[0-9a-f]{16}"),
        ("/etc/hookward/../x y/ü", r"_-[0-9a-f]{16}"),
        ("/" + "a" * 300, r"a{200}-[0-9a-f]{16}"),
    ],
)
def test_names(path: str, name: str) -> None:
    assert re.fullmatch(name, credential_name(path))


def test_no_two_paths_have_one_name() -> None:
    """Else a route would be given the secret of another."""
    paths = ["/a-b/c", "/a/b-c", "/a/b/c", "/a_b/c", "/a b/c", "/A-b/c"]
    assert len({credential_name(path) for path in paths}) == len(paths)
    assert credential_name("/a/../b/c") == credential_name("/b/c")


def test_what_was_handed_over_is_read_in_the_place_of_the_file(place: Workplace, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert "does not exist" in place.problems(ENDS + ROUTE, environ=environ)[0].what
    copy = folder / credential_name(f"{place.folder}/other.secret")
    copy.write_bytes(SECRET)
    copy.chmod(0o400)
    [route] = place.load(ENDS + ROUTE, environ=environ).policy.routes
    assert route.signature is not None
    assert [secret.value for secret in route.signature.secrets] == [SECRET]


def test_the_url_of_a_redis_is_handed_over_as_well(place: Workplace, tmp_path: Path) -> None:
    copy = tmp_path / credential_name(f"{place.folder}/redis.url")
    copy.write_text("redis://:word@cache")
    copy.chmod(0o400)
    table = '[duplicates]\nstore = "redis"\nurl = "file:redis.url"\n'
    route = '[route.a]\nprovider = "github"\nsecrets = ["file:github.secret"]\nduplicates = "in-flight"\n'
    loaded = place.load(ENDS + table + route, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert loaded.settings.duplicates.url == "redis://:word@cache"


def test_a_file_without_a_copy_stays(place: Workplace, tmp_path: Path) -> None:
    text = ENDS + '[route.a]\nprovider = "github"\nsecrets = ["file:github.secret"]\n'
    [route] = place.load(text, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).policy.routes
    assert route.signature is not None
