"""What is uploaded is what was tested: the built wheel and sdist, installed where nothing else is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.packaging.imports import ROOT

# One worker builds for all of them when tests run side by side.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("packaging")]


def _run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """What a command said; it must end with `status`."""
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def _build(source: Path, out: Path, *what: str) -> None:
    _run(sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", out, source, cwd=out)


def _environment(folder: Path, wanted: Sequence[str]) -> Path:
    """A new virtual environment with the wanted packages; gives its folder of programs."""
    _run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    _install(folder / "bin", wanted)
    return folder / "bin"


def _install(programs: Path, wanted: Sequence[str]) -> None:
    pip: list[str | Path] = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "-c", ROOT / "constraints.txt", *wanted, cwd=programs)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of the work tree."""
    out = tmp_path_factory.mktemp("built")
    _build(ROOT, out, "--sdist", "--wheel")
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sdist unpacks to."""
    (path,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    return inner


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and no extra."""
    return _environment(tmp_path_factory.mktemp("base") / "env", [str(wheel)])


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and all extras."""
    return _environment(tmp_path_factory.mktemp("full") / "env", [f"{wheel}[all]"])


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names)), "a file is in the wheel twice"
    return set(names)


def _tracked(*folders: str) -> set[str]:
    """Files of the work tree below some folders, without what Python and editors leave there."""
    found = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_every_file_of_the_package_and_its_sql(wheel: Path) -> None:
    """The SQL of query/ is inside the package, beside all modules and data files, and nothing else is."""
    names = {name for name in _names(wheel) if ".dist-info/" not in name}
    sql = {f"otel_audit/query/sql/{path.name}" for path in (ROOT / "query").glob("*.sql")}
    assert sql
    assert names == {name for name in _tracked("otel_audit") if "/query/sql/" not in name} | sql


def test_the_wheel_is_typed_and_licensed(wheel: Path) -> None:
    """Type checkers see the types; the licence travels along."""
    names = _names(wheel)
    assert "otel_audit/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_a_packager_needs(sdist: Path) -> None:
    """Sources, SQL, tests, docs and both constraint files are there."""
    there = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt"}
    wanted |= {"constraints-lowest.txt"} | _tracked("query", "tests/contract") | _tracked("otel_audit")
    assert wanted <= there, sorted(wanted - there)


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """Whoever builds from the sdist gets the same files."""
    _build(sdist, tmp_path, "--wheel")
    (again,) = tmp_path.glob("*.whl")
    assert _names(again) == _names(wheel)


def test_the_base_install_brings_no_extra(base: Path, tmp_path: Path) -> None:
    """An application that only writes gets neither DuckDB nor pyarrow nor a web server."""
    frozen = _run(base / "python", "-m", "pip", "freeze", cwd=tmp_path).lower()
    assert not [name for name in ("duckdb", "pyarrow", "uvicorn", "fastapi", "typer", "numpy") if name in frozen]


_APPEND = """
from otel_audit import ActivityRecord, EntityRef, InMemoryActivityLogRepo
log = InMemoryActivityLogRepo()
log.append(ActivityRecord.create(actor_id="ann", owner_id="bob", action="create", entity_ref=EntityRef("Task", 1)))
assert [record.action for record in log.get_by_entity(EntityRef("Task", 1))] == ["create"]
"""


def test_the_base_install_keeps_records_in_memory(base: Path, tmp_path: Path) -> None:
    """The in-memory repo needs no extra."""
    _run(base / "python", "-c", _APPEND, cwd=tmp_path)


@pytest.mark.parametrize(
    ("name", "statement", "extra"),
    [
        ("OTelActivityLogRepo", "OTelActivityLogRepo(reader='.').get_by_action('create')", "query"),
        ("LocalActivityLogRepo", "LocalActivityLogRepo('data')", "query,collector"),
    ],
)
def test_a_missing_extra_is_a_config_error_with_the_pip_line(
    base: Path, tmp_path: Path, name: str, statement: str, extra: str
) -> None:
    """Who uses a feature without its extra is told what to install."""
    script = f"""
from otel_audit import ConfigError
try:
    from otel_audit import {name}
    {statement}
except ConfigError as error:
    print(error)
"""
    said = _run(base / "python", "-c", script, cwd=tmp_path)
    assert f"pip install 'otel-audit[{extra}]'" in said


def test_the_command_without_its_extra_says_what_to_install(base: Path, tmp_path: Path) -> None:
    """The program is there in every install, and answers with the pip line and the exit code of a ConfigError."""
    said = _run(base / "otel-audit", "status", cwd=tmp_path, status=78)
    assert "pip install 'otel-audit[cli]'" in said


def test_the_contract_holds_for_the_installed_wheel(full: Path, tmp_path: Path) -> None:
    """Every repo passes the contract suite where the work tree cannot be imported."""
    _install(full, ["pytest", "hypothesis"])
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "__init__.py", tmp_path / "tests")
    shutil.copytree(ROOT / "tests" / "contract", tmp_path / "tests" / "contract")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    timeout\n", encoding="utf-8")
    # -P keeps the current folder off the path of what pytest starts from; the suite itself finds `tests` by its root.
    said = _run(full / "python", "-P", "-m", "pytest", "-q", "tests/contract", cwd=tmp_path)
    assert " passed" in said
    where = _run(full / "python", "-P", "-c", "import otel_audit; print(otel_audit.__file__)", cwd=tmp_path)
    assert str(full.parent) in where


_ROUND_TRIP = """
from otel_audit import ActivityRecord, EntityRef, LocalActivityLogRepo
with LocalActivityLogRepo("data") as log:
    log.append(ActivityRecord.create(actor_id="ann", owner_id="bob", action="create", entity_ref=EntityRef("Task", 1)))
    log.flush()
    assert [record.actor_id for record in log.get_by_entity(EntityRef("Task", 1))] == ["ann"]
"""


def test_all_extras_write_and_read_a_data_folder(full: Path, tmp_path: Path) -> None:
    """With all extras the wheel alone writes Parquet, reads it with its own SQL, and its command reads it too."""
    _run(full / "python", "-c", _ROUND_TRIP, cwd=tmp_path)
    said = _run(full / "otel-audit", "status", "--check", "--data", "data", cwd=tmp_path)
    assert "1" in said
