"""What pyproject.toml declares is what the code imports, and what the two constraint files pin."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging.imports import ROOT, imported_anywhere, needed_by

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_EXTRAS: dict[str, list[str]] = _PROJECT["optional-dependencies"]

# Never imported by us, each for a reason.
_INDIRECT = {
    "uvloop": "uvicorn's event loop, taken when it is there",
    "pytz": "DuckDB gives TIMESTAMPTZ to Python through it",
    "opentelemetry-exporter-otlp": "what an application's own pipeline needs beside ours",
}


def _requirements(extra: str) -> dict[str, Requirement]:
    """Canonical names an extra brings, the extras within it and the base included."""
    found: dict[str, Requirement] = {}
    waiting = list(_PROJECT["dependencies"]) + list(_EXTRAS.get(extra, []))
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name == "otel-audit":
            waiting += [text for inner in requirement.extras for text in _EXTRAS[inner]]
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def _pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in lines), "names and versions only"
    assert lines == sorted(lines, key=str.lower), f"{name} is not sorted"
    return {canonicalize_name(left): Version(right) for left, right in (line.split("==") for line in lines)}


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("otel_audit", "base"),
        ("otel_audit.repos.memory", "base"),
        ("otel_audit.repos.otel", "base"),
        ("otel_audit.bootstrap", "base"),
        ("otel_audit.hooks", "base"),
        ("otel_audit.cli.main", "base"),
        ("otel_audit.query.reader", "query"),
        ("otel_audit.log.engine", "collector"),
        ("otel_audit.collector.server", "collector"),
        ("otel_audit.web.app", "web"),
        ("otel_audit.repos.local", "all"),
        ("otel_audit.cli.app", "cli"),
    ],
)
def test_an_extra_brings_whatever_its_entry_module_imports(module: str, extra: str) -> None:
    """A package that the module imports, directly or through others of ours, is declared in its extra or the base."""
    declared = _requirements(extra)
    missing = {name: by for name, by in needed_by(module).items() if name not in declared}
    assert not missing, f"{module} needs packages that [{extra}] does not bring: {missing}"


def test_every_import_is_declared_and_every_declaration_is_imported() -> None:
    """Nothing comes along by luck, and nobody installs what is not used."""
    assert imported_anywhere() == set(_requirements("all")) - set(_INDIRECT)


def test_constraints_pin_a_version_of_everything_that_is_declared() -> None:
    """What we develop and test with lies within the ranges that users get."""
    pins = _pins("constraints.txt")
    for name, requirement in (_requirements("all") | _requirements("dev")).items():
        assert requirement.specifier.contains(pins[name]), f"{requirement} against {pins[name]}"


def test_the_lowest_constraints_are_the_lower_bounds() -> None:
    """A bound is a promise; it names the very version that the tests ran with."""
    pins = _pins("constraints-lowest.txt")
    for name, requirement in _requirements("all").items():
        (bound,) = requirement.specifier
        assert bound.operator == ">=", f"{requirement} has no plain lower bound"
        assert pins[name] == Version(bound.version), f"{requirement} is tested with {pins[name]}"


def test_the_version_is_the_same_everywhere() -> None:
    """pyproject.toml, the package and the installed metadata agree."""
    from otel_audit import __version__

    assert __version__ == _PROJECT["version"] == version("otel-audit")


def test_what_the_lowest_run_leaves_out_exists() -> None:
    """A renamed test does not linger in the list of those that are bound to the pinned versions."""
    named = re.findall(r"^\t(tests/\S+\.py)::(\w+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name} is no more"
