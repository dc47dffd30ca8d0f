"""SQL lives in the `.sql` files of `query/`, each saying what it is for; the package sees them wherever it runs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

import otel_audit
from otel_audit.errors import ConfigError
from otel_audit.query.engine import columns_map
from otel_audit.query.statements import script, statement

PROJECT = Path(otel_audit.__file__).parent.parent
NAMES = sorted(path.name.removesuffix(".sql") for path in (files("otel_audit.query") / "sql").iterdir())
SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|CREATE\s+(OR\s+REPLACE\s+|TEMP\s+)*(VIEW|TABLE|MACRO)|read_parquet\()",
    re.I | re.S,
)


def test_the_folder_the_package_sees_is_the_top_level_one():
    assert sorted(path.stem for path in (PROJECT / "query").glob("*.sql")) == NAMES
    assert {"views", "files", "newest", "oldest", "count"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_it_is_for(name):
    """The head names the port method or the session it serves, its parameters with types, and what prunes."""
    head = script(name).split("\n\n")[0] if name in ("views", "files") else script(name)
    comments = [line for line in script(name).splitlines() if line.startswith("--")]
    assert script(name).startswith("-- ")
    said = "\n".join(comments)
    if name in ("views", "files"):
        assert "session: " in said
    else:
        assert "-- port: " in said
    for parameter in set(re.findall(r"\$([a-z_]+)", statement(name))) if name != "views" else ():
        assert parameter in said or "those of" in said, parameter
    if name not in ("files", "reader_settings"):
        assert "-- prunes: " in said
    assert head


def test_an_include_is_replaced_and_comments_go():
    text = statement("newest")
    assert "--" not in text
    assert text.count("read_parquet(") == 1
    assert "trace_flags" in text


def test_a_missing_file_is_an_error_of_ours():
    with pytest.raises(ConfigError, match="no_such"):
        statement("no_such")


def test_no_python_file_holds_sql():
    """Read from the source: no statement hides in a string. Documentation and help may show one."""
    allowed = {"cli/sql.py", "cli/examples.py"}
    for path in sorted((PROJECT / "otel_audit").rglob("*.py")):
        relative = path.relative_to(PROJECT / "otel_audit").as_posix()
        if relative in allowed:
            continue
        found = [
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if SQL.search(line) and not line.lstrip().startswith("#")
        ]
        assert not [line for line in found if re.search(r"execute|\"SELECT|'SELECT", line)], f"{relative}: {found}"


def test_the_columns_map_names_every_column_once():
    from otel_audit.archive.columns import COLUMNS

    text = columns_map(COLUMNS)
    assert text.startswith("MAP {1: {name: 'log_index', type: 'BIGINT'")
    assert text.count("default_value") == len(COLUMNS)


@pytest.mark.slow
def test_a_wheel_carries_the_statements(tmp_path):
    """The link in the source tree becomes real files in what users install."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(PROJECT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {f"otel_audit/query/sql/{name}.sql" for name in NAMES} <= set(inside)
