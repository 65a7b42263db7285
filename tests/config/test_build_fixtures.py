"""``[[test]]`` stanzas: read with all their mistakes, without opening a file."""

from __future__ import annotations

import pytest

from tests.config.loading import ENDS, Workplace

ROUTE = '[route.a]\nprovider = "github"\nsecrets = ["file:github.secret"]\n'


def test_tests_are_read(place: Workplace):
    text = (
        ENDS
        + ROUTE
        + (
            '[[test]]\nfile = "push.http"\n'
            '[[test]]\nfile = "/other.har"\nexpect = "signature_mismatch"\n'
            'at = 2026-03-01T09:15:00Z\nfrom = "192.0.2.7"\n'
            '[[test]]\nfile = "x"\nat = 1772356500\nfrom = "unix:"\n'
        )
    )
    one, two, three = place.load(text).settings.fixtures
    assert (one.file, one.expect) == (str(place.folder / "push.http"), "admitted")
    assert (one.at, one.address) == (None, None)
    assert (two.file, two.expect, two.at, two.address) == (
        "/other.har",
        "signature_mismatch",
        1772356500.0,
        "192.0.2.7",
    )
    assert (three.at, three.address) == (1772356500.0, "unix:")
    assert "test[1]" in str(two.where)


@pytest.mark.parametrize(
    ("stanza", "said"),
    [
        ('expect = "admitted"', "names no saved delivery"),
        ('file = "x"\nexpect = "signature_mismatched"', "is no outcome"),
        ('file = "x"\nfrom = "nowhere"', "is not an address"),
        ('file = "x"\nat = "noon"', "not a date"),
        ('file = "x"\nat = 1772356500000', "not a date"),
        ('file = "x"\nfrom = 5', "is not a text"),
    ],
)
def test_mistakes_are_told(place: Workplace, stanza: str, said: str):
    [problem] = place.problems(ENDS + ROUTE + f"[[test]]\n{stanza}\n")
    assert said in problem.what
    assert problem.where.startswith("hookward.toml:")


def test_rules_are_silenced_by_id(place: Workplace):
    text = ENDS + ROUTE + 'mode = "observe"\n'
    assert any("only observes" in warning for warning in place.load(text).settings.warnings)
    silenced = place.load('silence = ["H302"]\n' + text).settings
    assert not any("only observes" in warning for warning in silenced.warnings)
    [problem] = place.problems('silence = ["H999"]\n' + text)
    assert "no rule 'H999'" in problem.what
