"""What the API's document says is asked of a running console: each place, as schemathesis makes it up from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.console.asking import ACT, delivery, token
from tests.examples import TIMES
from tests.whole.process import Hookward
from tests.whole.wire import once

pytest.importorskip("schemathesis")

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

Start = Callable[..., Hookward]
DOCUMENT = json.loads(files("proxy.console").joinpath("openapi.json").read_bytes())
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
#: One has no end, the other starts everything anew.
LEFT_OUT = {"/stream", "/reload"}


def operations() -> list[Any]:
    paths = {path: methods for path, methods in DOCUMENT["paths"].items() if path not in LEFT_OUT}
    schema = schemathesis.openapi.from_dict({**DOCUMENT, "paths": paths})
    return [found.ok() for found in schema.get_all_operations()]


def test_each_place_answers_as_its_document_says(begin: Start) -> None:
    hookward = begin(route='deliver = "fallback"', more="[queue]\n")
    once(hookward.address, delivery())
    once(hookward.address, delivery(key=b"another secret", name="d-2"))
    host, port = hookward.addresses[1]
    asked = {"base_url": f"http://{host}:{port}/api/v1", "headers": {"Authorization": f"Bearer {ACT}"}, "timeout": 30}

    def ask(case: Any) -> None:
        if case.operation.path.endswith("/wait"):
            case.query = {**(case.query or {}), "for": "0.01s"}
        case.validate_response(case.call(**asked), checks=CHECKS)

    known = {"id": token(hookward).get("deliveries")["deliveries"][0]["id"], "name": "github"}
    for operation in operations():
        names = [parameter.name for parameter in operation.path_parameters]
        content = {"body": {}, "media_type": "application/json"} if list(operation.body) else {}
        ask(operation.Case(path_parameters={name: known[name] for name in names}, **content))
        # Without ``explain`` and ``shrink``: what failed is asked again by hand, with the line that it prints.
        bounded = settings(
            max_examples=4 * TIMES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        bounded(given(case=operation.as_strategy())(ask))()
