"""Why nobody answered, in the few words that help: HTTP libraries wrap the cause in layers that repeat the URL."""

from __future__ import annotations

__all__ = ["cause"]

_MOST_LAYERS = 12


def cause(error: BaseException) -> str:
    """The operating system's own words for the innermost failure ("Connection refused"), else the error's."""
    layer: BaseException | None = error
    for _ in range(_MOST_LAYERS):
        if layer is None:
            break
        if isinstance(layer, OSError) and layer.errno is not None and layer.strerror:
            return layer.strerror
        layer = _inside(layer)
    return f"{type(error).__name__}: {error}"


def _inside(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
    return next((inner for inner in candidates if isinstance(inner, BaseException)), None)
