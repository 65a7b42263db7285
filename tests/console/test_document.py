"""The API's document: it is one, it names every place that is served and no other, and answers are as it says."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from proxy.console.api import Api

DOCUMENT = json.loads(files("proxy.console").joinpath("openapi.json").read_bytes())


def test_it_is_a_document_of_openapi() -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(DOCUMENT)


def test_it_names_what_is_served() -> None:
    served = set(Api(None, None, print).places)
    doors = {"POST /api/v1/session", "DELETE /api/v1/session"}
    named = {f"{method.upper()} /api/v1{path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert named == served | doors


def test_every_place_says_what_it_is_for_and_needs_a_credential() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"]
            assert ("401" in operation["responses"]) or (path, method) == ("/session", "delete")


def schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def judge(value: object, name: str) -> None:
    """That a value is as the document says. For the tests of what is served."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(schema(name)).validate(value)
