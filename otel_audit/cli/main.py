"""The entry point, and the one place where an error becomes words on stderr and an exit code.

Exit codes: 0 done · 2 the command line itself is wrong · 130 interrupted · else the error's own `exit_code`.
This module imports with the base install alone, so that a missing extra is answered with the pip line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from otel_audit.errors import MissingExtraError, OtelAuditError
from otel_audit.model.printing import printable

__all__ = ["exit_code_of", "main"]

INTERRUPTED = 130
_CLI_PACKAGES = {"typer", "rich", "click"}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run `otel-audit` and leave the interpreter.

    Args:
        argv: the words after the program's name; default `sys.argv[1:]`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    sys.exit(exit_code_of(lambda: _run(words)))


def exit_code_of(action: Callable[[], None]) -> int:
    """Run something, say on stderr what went wrong in terms of the caller, and give the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 shows escapes; it never makes a command fail half-way through its answer.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _code_of(action)
        sys.stdout.flush()
    except OtelAuditError as error:
        return _report(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Point stdout elsewhere, or the interpreter's last flush
        # would complain about the same pipe again.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _code_of(action: Callable[[], None]) -> int:
    try:
        action()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def _report(error: OtelAuditError) -> int:
    # Of several lines only the first begins at the margin: what is told of somebody's data is no line of ours.
    first, *more = map(printable, str(error).split("\n"))
    told = "".join(f"\n  {line}" for line in more)
    print(f"error: {first}{told}\n{error.advice}", file=sys.stderr)  # noqa: T201
    return error.exit_code


def _run(words: list[str]) -> None:
    try:
        from otel_audit.cli.app import build_app
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] in _CLI_PACKAGES:
            raise MissingExtraError("the command line", "cli") from error
        raise
    build_app()(args=words, prog_name="otel-audit")


if __name__ == "__main__":
    main()
