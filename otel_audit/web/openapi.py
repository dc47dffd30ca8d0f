"""`python -m otel_audit.web.openapi > docs/openapi.json` writes the OpenAPI document of the HTTP routes."""

from __future__ import annotations

import json
import sys

from otel_audit.repos.memory import InMemoryActivityLogRepo
from otel_audit.web.app import create_app

__all__ = ["openapi_text"]


def openapi_text() -> str:
    """The document as JSON text; the same for every reader."""
    return json.dumps(create_app(InMemoryActivityLogRepo()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
