"""Requests made from the service's own description, sound ones and others: every answer is as it says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from artifacts import make_artifact
from services import Service, serving

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    options = ("--gallery", str(folder / "people.sqlite"), "--threshold", "0.3", "--no-access-log")
    with serving(make_artifact(folder / "artifact"), *options) as started:
        yield started


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_answers_are_as_described(service: Service, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{service.address}/openapi.json")
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS, timeout=30)

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with what takes nothing
            check()
        count += 1
    assert count >= 11
    assert not [line for line in service.lines() if line["event"] == "log" and line["level"] == "error"]
