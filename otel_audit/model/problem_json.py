"""Errors as problem details (RFC 9457): written by the HTTP routes, told apart by the HTTP reader.

A type is `urn:otel-audit:problem:<name>`, the name being the error class's own in kebab case, so that there is no
table to keep in step.
"""

from __future__ import annotations

import re
from typing import Any

from otel_audit.errors import OtelAuditError

__all__ = ["PROBLEM_MEDIA_TYPE", "problem_from_error", "problem_type"]

PROBLEM_MEDIA_TYPE = "application/problem+json"
_WORD = re.compile(r"[A-Z][a-z0-9]*")


def problem_type(error: type[OtelAuditError]) -> str:
    """The problem type of an error class: `InvalidFilterError` is `urn:otel-audit:problem:invalid-filter`."""
    return "urn:otel-audit:problem:" + "-".join(_words(error))


def problem_from_error(error: OtelAuditError) -> dict[str, Any]:
    """The problem object: what happened in `detail`, what to do next in `diagnostics`."""
    return {
        "type": problem_type(type(error)),
        "title": " ".join(_words(type(error))).capitalize(),
        "status": error.http_status,
        "detail": str(error),
        "diagnostics": error.advice,
    }


def _words(error: type[OtelAuditError]) -> list[str]:
    return [word.lower() for word in _WORD.findall(error.__name__.removesuffix("Error"))]
