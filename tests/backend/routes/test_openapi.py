"""Every answer is one that `/openapi.json` describes, and none is an unexpected 5xx."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.backend.processes import Backend, Farm

EXPECTED_5XX = (502, 503, 504)
"""No pod, a missing model or a failed engine: documented, and not the backend's fault."""


@pytest.fixture(scope="module")
def api(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenApiSchema]:
    backend = Backend(tmp_path_factory.mktemp("openapi"), farm.urls)
    backend.start()
    try:
        backend.wait_up()
        yield schemathesis.openapi.from_url(f"{backend.url}/openapi.json")
        assert "Traceback" not in backend.output()
    finally:
        backend.kill()


def test_every_answer_is_documented(api: OpenApiSchema, subtests: pytest.Subtests) -> None:
    for found in api.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case[Any]) -> None:
            answer = case.call(timeout=60)
            checks = [
                status_code_conformance,
                content_type_conformance,
                response_schema_conformance,
            ]
            if answer.status_code not in EXPECTED_5XX:
                checks.append(not_a_server_error)
            case.validate_response(answer, checks=checks)

        with subtests.test(operation.label):
            check()
