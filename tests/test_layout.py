"""Rules that hold for the whole package: who imports whom, what an import needs, how long a file may be."""

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import otel_audit
from otel_audit import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "otel_audit"
SOURCES = sorted(PACKAGE.rglob("*.py"))
ERRORS = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, errors.OtelAuditError)]

MAX_LINES = 320


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_point_one_way():
    """cli, web, bootstrap, repos ... model, errors: each room imports only rooms below it."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


def test_every_room_is_named_in_the_layers():
    """A new folder or module at the top must be given its place."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    placed = {name.strip() for contract in contracts for layer in contract["layers"] for name in layer.split("|")}
    there = {f"otel_audit.{path.stem}" for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for name in there if not name.startswith("otel_audit._")} <= placed


BLOCK_EXTRAS = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(name + " is blocked")
BLOCKED = {"duckdb", "pyarrow", "numpy", "pandas", "polars", "fastapi", "starlette", "uvicorn", "httptools",
           "typer", "rich", "xxhash", "zstandard", "prometheus_client"}
sys.meta_path.insert(0, Block())
"""


def test_the_base_install_appends_and_reads_in_memory():
    """Nothing of an extra is needed for the domain, the hooks and the in-memory log."""
    code = """
import otel_audit, otel_audit.hooks, otel_audit.config, otel_audit.otlp.names
from otel_audit import ActivityRecord, EntityRef, InMemoryActivityLogRepo
log = InMemoryActivityLogRepo(hooks=[otel_audit.hooks.CurrentTrace(), otel_audit.hooks.AmbientContext()])
log.append(ActivityRecord.create(actor_id="a", owner_id="o", action="do", entity_ref=EntityRef("T", 1)))
print(len(log.get_by_actor("a")), len(log.search().records))
"""
    assert run(BLOCK_EXTRAS + code) == "1 1\n"


def test_the_base_install_sends():
    """Appending over OTLP needs no extra either; only reading back may."""
    code = """
from otel_audit import OTelActivityLogRepo
with OTelActivityLogRepo("http://127.0.0.1:9"):
    print("open")
"""
    assert run(BLOCK_EXTRAS + code) == "open\n"


def test_everything_in_all_can_be_imported():
    for name in otel_audit.__all__:
        assert getattr(otel_audit, name) is not None
    assert sorted(otel_audit.__all__) == list(otel_audit.__all__)


IMPORT_AUDITED = """
import sys, threading
done = []
def ours():
    # Whose act it is: the innermost frame that is neither the standard library's nor the import machinery's.
    frame = sys._getframe(2)
    while frame is not None:
        if "site-packages" in frame.f_code.co_filename:
            return False
        if "otel_audit" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
def audit(event, arguments):
    if event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.remove", "open") and ours():
        # Modules are opened to be read, by the import machinery on behalf of the one that imports them.
        if event != "open" or not str(arguments[0]).endswith((".py", ".pyc", ".so")):
            done.append((event, str(arguments)))
sys.addaudithook(audit)
sys.dont_write_bytecode = True
for name in sys.argv[1:]:
    __import__(name)
print(done, threading.active_count())
"""


def test_nothing_is_opened_or_started_at_import():
    """Importing any module of ours opens no file and no socket and starts no thread."""
    names = [module_name(path) for path in SOURCES if path.name != "__main__.py"]
    assert run(IMPORT_AUDITED, *names) == "[] 1\n"


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert not text or text.startswith('"""')


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
def test_no_room_is_a_lumber_room(room):
    assert room not in {"utils", "helpers", "common", "manager", "misc"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_says_what_to_do_next(error):
    """It has advice of its own or its family's, a documented meaning, and codes in their ranges."""
    assert error.__doc__
    assert error.advice.endswith(".")
    if error is not errors.OtelAuditError:
        assert error.advice != errors.OtelAuditError.advice
    assert 1 <= error.exit_code <= 125
    assert 400 <= error.http_status <= 599
    assert isinstance(error.retryable, bool)


def test_diagnostics_hold_the_problem_and_the_advice():
    assert errors.InvalidRecordError("action", "must not be empty").diagnostics() == (
        "action: must not be empty\nCorrect the record and append it again; nothing was stored."
    )
