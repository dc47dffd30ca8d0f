"""docs/http-api.md shows real requests and their real answers, and forgets no route, parameter or error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests

from otel_audit.errors import InvalidCursorError, InvalidFilterError, ReaderUnavailableError, RecordNotFoundError
from otel_audit.model.filters import COUNT_FIELDS
from otel_audit.model.problem_json import problem_type
from otel_audit.web.openapi import openapi_text
from otel_audit.web.parameters import COUNT, QUARANTINE, SEARCH, STREAMS

PAGE = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n\$ curl -s 'http://127\.0\.0\.1:4318([^']*)'( \| jq \.)?\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("request_line", "pretty", "output"), SHOWN, ids=[shown[0] for shown in SHOWN])
def test_each_command_on_the_page_prints_what_the_page_says(
    examples_at: str, request_line: str, pretty: str, output: str
) -> None:
    answered = requests.get(examples_at + request_line, timeout=10)
    expected = json.dumps(answered.json(), indent=2, ensure_ascii=False) if pretty else answered.text
    assert output == expected


def test_the_page_shows_every_command_it_has() -> None:
    assert len(SHOWN) == PAGE.count("$ curl") >= 7


def test_the_page_names_every_route_parameter_field_and_problem() -> None:
    named = [f"GET {template}" for template in json.loads(openapi_text())["paths"]]
    named += [parameter.name for parameter in (*SEARCH, *COUNT, *STREAMS, *QUARANTINE)]
    named += COUNT_FIELDS
    named += map(problem_type, (InvalidFilterError, InvalidCursorError, RecordNotFoundError, ReaderUnavailableError))
    assert [name for name in named if f"`{name}" not in PAGE] == []
