"""Which packages a module needs to be imported, read from the source without running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
_OURS = "otel_audit"
# Packages that share an import name with others are told apart by what follows it.
_SHARED = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.proto": "opentelemetry-proto",
    "opentelemetry.exporter": "opentelemetry-exporter-otlp",
    "opentelemetry": "opentelemetry-api",
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
}


def needed_by(module: str) -> dict[str, str]:
    """Distributions that importing `module` needs, each with the module of ours that imports it.

    Follows our own modules and the packages around them. An import inside a function is optional by intent, and one
    under TYPE_CHECKING never runs: neither counts.
    """
    needed: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        for imported in _imports(_source(name)):
            if imported.partition(".")[0] == _OURS:
                waiting.append(imported if _path(imported) else imported.rpartition(".")[0])
            elif imported.partition(".")[0] not in sys.stdlib_module_names:
                needed.setdefault(distribution(imported), name)
    return needed


def imported_anywhere() -> set[str]:
    """Distributions that any module of ours imports, at whatever place."""
    found = set()
    for path in (ROOT / _OURS).rglob("*.py"):
        for imported in _imports(path, everywhere=True):
            if imported.partition(".")[0] not in sys.stdlib_module_names | {_OURS}:
                found.add(distribution(imported))
    return found


def distribution(imported: str) -> str:
    """The canonical name of the distribution that a module comes from."""
    for prefix, name in _SHARED.items():
        if imported == prefix or imported.startswith(prefix + "."):
            return name
    owners = _owners().get(imported.partition(".")[0])
    assert owners, f"{imported} is imported but not installed"
    return canonicalize_name(owners[0])


@cache
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()


def _path(module: str) -> Path | None:
    base = ROOT / module.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _source(module: str) -> Path:
    path = _path(module)
    assert path, f"no such module: {module}"
    return path


def _imports(path: Path, *, everywhere: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else _run_on_import(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _run_on_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _run_on_import(node.orelse)
            continue
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from _run_on_import(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from _run_on_import(handler.body)
