"""Why nobody answered, in the few words that help: HTTP libraries wrap the cause in layers that repeat the URL."""

from __future__ import annotations

import re

from otel_audit.model.printing import printable, public_url

__all__ = ["cause"]

_MOST_LAYERS = 12
_URL = re.compile(r"https?://[^\s'\"<>]+", re.IGNORECASE)
_PATH = re.compile(r"(with url: )(\S+)")


def cause(error: BaseException) -> str:
    """The operating system's own words for the innermost failure ("Connection refused"), else the error's."""
    layer: BaseException | None = error
    for _ in range(_MOST_LAYERS):
        if layer is None:
            break
        if isinstance(layer, OSError) and layer.errno is not None and layer.strerror:
            return layer.strerror
        layer = _inside(layer)
    return f"{type(error).__name__}: {_without_secrets(str(error))}"


def _without_secrets(text: str) -> str:
    text = _URL.sub(lambda match: public_url(match[0]), text)
    return printable(_PATH.sub(lambda match: match[1] + public_url(match[2]), text))


def _inside(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
    return next((inner for inner in candidates if isinstance(inner, BaseException)), None)
