from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.flag_names import FLAGS
from proxy.config.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_is_made_from_the_schema() -> None:
    assert PAGE.read_text() == reference(), "run: python -m proxy.config.reference > docs/configuration.md"


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_and_variable_is_on_the_page(flag: object) -> None:
    assert f"`{flag.option}`" in PAGE.read_text()  # type: ignore[attr-defined]
    assert f"`{flag.variable}`" in PAGE.read_text()  # type: ignore[attr-defined]
