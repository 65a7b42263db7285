"""What the first file says beside its keys."""

from __future__ import annotations

import tomllib

import pytest

from proxy.core.schemes import PROVIDERS
from proxy.tools.init import FirstFile


def file_of(slug: str, public_url: str = "https://hooks.example.com") -> FirstFile:
    return FirstFile(PROVIDERS[slug], "127.0.0.1:8080", "http://127.0.0.1:8000", f"/hooks/{slug}", public_url)


@pytest.mark.parametrize(
    ("slug", "url"),
    [
        ("github", "https://hooks.example.com/hooks/github"),
        ("flexdeploy", "https://hooks.example.com/hooks/flexdeploy?token=SECRET"),
    ],
)
def test_the_url_that_is_entered_there(slug: str, url: str) -> None:
    assert file_of(slug).shown_url == url
    assert file_of(slug, "https://a.example/whole").shown_url.startswith("https://a.example/whole")


@pytest.mark.parametrize("slug", PROVIDERS)
def test_comments_are_keys_that_can_be_uncommented(slug: str) -> None:
    text = file_of(slug).text()
    route = tomllib.loads(text)["route"][slug]
    assert {"path", "provider", "secrets"} <= set(route)
    _, _, below = text.partition("[route.")
    lines = [line.removeprefix("# ") if "= " in line else line for line in below.splitlines()[1:]]
    assert tomllib.loads("\n".join(lines))["provider"] == slug
