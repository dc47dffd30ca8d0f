"""The OpenAPI document is what the server does: checked in fresh, and every example in it is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

from otel_audit.errors import ReaderUnavailableError
from otel_audit.model.filters import Filter
from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web import create_app
from otel_audit.web.openapi import openapi_text
from tests.web.serving import serving

DOCUMENT: dict[str, Any] = json.loads(openapi_text())
CHECKED_IN = Path(__file__).parents[2] / "docs" / "openapi.json"
OPERATIONS = {path["get"]["operationId"]: (template, path["get"]) for template, path in DOCUMENT["paths"].items()}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with the document's components beside it, so that its references lead somewhere."""
    return {**schema, "components": DOCUMENT["components"]}


def documented_examples(unavailable: bool) -> Iterator[Any]:
    for operation, (_, described) in OPERATIONS.items():
        for status, answered in described["responses"].items():
            if (status == "503") != unavailable:
                continue
            for media_type, content in answered["content"].items():
                for name, example in content.get("examples", {}).items():
                    request = example["summary"].removeprefix("GET ")
                    schema = resolved(content["schema"])
                    yield pytest.param(
                        request, int(status), media_type, schema, example["value"], id=f"{operation}-{status}-{name}"
                    )


def test_the_checked_in_document_is_what_the_code_says() -> None:
    assert CHECKED_IN.read_text(encoding="utf-8") == openapi_text(), (
        "run: python -m otel_audit.web.openapi > docs/openapi.json"
    )


def test_operation_ids_and_paths_stay_as_they_are() -> None:
    assert {operation: template for operation, (template, _) in OPERATIONS.items()} == {
        "listRecords": "/v1/audit/records",
        "getRecord": "/v1/audit/records/{record_id}",
        "listByEntity": "/v1/audit/entities/{entity_type}/{entity_id}",
        "listByActor": "/v1/audit/actors/{actor_id}",
        "listByOwner": "/v1/audit/owners/{owner_id}",
        "listByAction": "/v1/audit/actions/{action}",
        "countRecords": "/v1/audit/count",
        "listStreams": "/v1/audit/streams",
        "getCompleteness": "/v1/audit/completeness",
        "getStatus": "/v1/audit/status",
        "listQuarantine": "/v1/audit/quarantine",
        "getQuarantined": "/v1/audit/quarantine/{sha256}",
    }


def test_every_operation_shows_an_answer_a_refusal_and_an_outage() -> None:
    for _, described in OPERATIONS.values():
        assert {"200", "503"} < set(described["responses"])
        assert {"400", "404"} & {
            status
            for status, answered in described["responses"].items()
            if any(content.get("examples") for content in answered["content"].values())
        }


@pytest.mark.parametrize(("request_line", "status", "media_type", "schema", "value"), list(documented_examples(False)))
def test_each_documented_example_is_the_servers_exact_answer(
    examples_at: str, request_line: str, status: int, media_type: str, schema: Any, value: Any
) -> None:
    response = requests.get(examples_at + request_line, timeout=10)
    assert response.status_code == status
    assert response.headers["content-type"] == media_type
    assert response.json() == value
    jsonschema.validate(response.json(), schema, format_checker=jsonschema.FormatChecker())


class Unavailable(InMemoryActivityLogRepo):
    """A log whose data cannot be reached."""

    def _select(self, *_: Any, **__: Any) -> Any:
        raise ReaderUnavailableError("the data folder cannot be read now")

    _select_log = get_by_id = count = _count_by = stream_reports = _select  # type: ignore[assignment]
    status = quarantined = quarantined_record = _select


@pytest.fixture(scope="module")
def unavailable_at() -> Iterator[str]:
    log = Unavailable()
    with serving(create_app(log, folder=log)) as url:
        yield url


@pytest.mark.parametrize(("request_line", "status", "media_type", "schema", "value"), list(documented_examples(True)))
def test_each_operation_answers_an_outage_as_documented(
    unavailable_at: str, request_line: str, status: int, media_type: str, schema: Any, value: Any
) -> None:
    response = requests.get(unavailable_at + request_line, timeout=10)
    assert (response.status_code, response.headers["content-type"]) == (status, media_type)
    assert response.headers["retry-after"] == "1"
    assert response.json() == value
    jsonschema.validate(response.json(), schema)


@pytest.mark.parametrize(
    ("template", "parameter"),
    [
        pytest.param(template, parameter, id=f"{operation}-{parameter['name']}")
        for operation, (template, described) in OPERATIONS.items()
        for parameter in described["parameters"]
        if parameter["in"] == "query"
    ],
)
def test_each_documented_parameter_is_taken_with_its_example(
    examples_at: str, example_log: InMemoryActivityLogRepo, template: str, parameter: dict[str, Any]
) -> None:
    path_examples = {
        p["name"]: p["example"] for p in DOCUMENT["paths"][template]["get"]["parameters"] if p["in"] == "path"
    }
    asked = {parameter["name"]: parameter["example"]}
    if parameter["name"] == "entity_id":
        asked["entity_type"] = "Task"
    response = requests.get(examples_at + template.format(**path_examples), params=asked, timeout=10)
    assert response.status_code == 200, response.text
    if parameter["name"] in Filter.__dataclass_fields__ and template == "/v1/audit/records":
        everything = requests.get(f"{examples_at}/v1/audit/records", timeout=10).json()
        assert response.json()["records"], "an example should match something"
        assert parameter["name"] in ("since", "until", "owner_id", "entity_type") or response.json() != everything


def test_answers_have_exactly_the_documented_fields(examples_at: str) -> None:
    schemas = DOCUMENT["components"]["schemas"]
    page = requests.get(f"{examples_at}/v1/audit/records?after=:-1&limit=1", timeout=10).json()
    assert set(page) == set(schemas["Page"]["properties"]) == set(schemas["Page"]["required"])
    assert set(page["records"][0]) == set(schemas["Record"]["properties"]) == set(schemas["Record"]["required"])
    assert set(page["position"]) == set(schemas["Position"]["required"])
    jsonschema.validate(page, resolved(schemas["Page"]))
    answered = requests.get(f"{examples_at}/v1/audit/streams", timeout=10).json()
    (whole, lacking) = answered["streams"][::-1]
    assert set(whole) == set(lacking) == set(schemas["Stream"]["properties"]) == set(schemas["Stream"]["required"])
    jsonschema.validate(answered, resolved(schemas["Streams"]))


def test_the_server_hands_out_the_same_document(examples_at: str) -> None:
    assert requests.get(f"{examples_at}/v1/audit/openapi.json", timeout=10).json() == DOCUMENT
