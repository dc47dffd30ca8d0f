"""The statements: `.sql` files of the top-level `query/` folder, in a wheel, an sdist and an editable install alike.

A line `-- include other.sql` stands for the lines of another file, so that a condition is written once.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from otel_audit.errors import ConfigError

__all__ = ["script", "statement"]

_INCLUDE = re.compile(r"^-- include ([a-z_]+\.sql)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)


@cache
def statement(name: str) -> str:
    """One statement with its includes, without comment lines. `name` is the file's, without `.sql`."""
    return _COMMENT.sub("", _INCLUDE.sub(lambda match: statement(match[1].removesuffix(".sql")), script(name)))


def script(name: str) -> str:
    """The text of a file as it stands.

    Raises:
        ConfigError: the installation lacks it.
    """
    try:
        return (files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the installation of otel-audit lacks query/{name}.sql: {error}") from error
