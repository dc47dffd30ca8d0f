"""Settings: one table that drives the environment, the TOML file, command-line flags and the reference page.

Order of precedence: an argument, `OTEL_AUDIT_<NAME>` in the environment, the TOML file named by `OTEL_AUDIT_CONFIG`,
the default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from otel_audit.errors import ConfigError

__all__ = ["SETTINGS", "Setting", "Settings", "load_settings", "unknown_variables"]

Side = Literal["application", "collector", "reading"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `unit` also says how a value is written; `choices` limits text."""

    name: str
    type: type[str] | type[int] | type[float] | type[bool]
    default: Any
    unit: str
    side: Side
    help: str
    least: float | None = None
    choices: tuple[str, ...] = ()
    most: float | None = None

    @property
    def env(self) -> str:
        """The environment variable."""
        return f"OTEL_AUDIT_{self.name.upper()}"

    def parse(self, raw: object, source: str) -> Any:
        """The typed value. Raises ConfigError naming the source, the value and what would be right."""
        try:
            value = self._typed(raw)
        except (ValueError, OverflowError):
            raise ConfigError(f"{source}: {raw!r} is not {_WANTED[self.type]}") from None
        if self.choices and value not in self.choices:
            raise ConfigError(f"{source}: {raw!r} is none of {', '.join(self.choices)}")
        if self.least is not None and value < self.least:
            raise ConfigError(f"{source}: {raw!r} is below the least value, {self.least:g}")
        if self.most is not None and value > self.most:
            raise ConfigError(f"{source}: {raw!r} is above the greatest value, {self.most:g}")
        return value

    def _typed(self, raw: object) -> Any:
        if self.type is bool:
            if isinstance(raw, bool):
                return raw
            lowered = str(raw).strip().lower()
            if lowered not in {"true", "false", "1", "0"}:
                raise ValueError
            return lowered in {"true", "1"}
        if self.type is str:
            if not isinstance(raw, str):
                raise ValueError
            return raw.strip()
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise ValueError
        value = self.type(raw)
        if self.type is int and isinstance(raw, float) and raw != value:
            raise ValueError
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError
        return value


_WANTED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_MiB = 1 << 20
_PREFIX = "OTEL_AUDIT_"

SETTINGS: tuple[Setting, ...] = (
    # the application's side
    Setting("endpoint", str, "", "URL", "application",
            "Base URL of the OTLP endpoint; `/v1/logs` is added. Unset: the OTEL_EXPORTER_OTLP_* variables, "
            "then http://127.0.0.1:4318."),
    Setting("reader", str, "", "URL or path", "application",
            "Where to read: a collector's URL or a data folder. Unset: the collector behind the endpoint, "
            "if it is ours."),
    Setting("durability", str, "disk", "word", "application",
            "What an accepted record survives before a peer has it. `disk`: power loss (fsynced in the spool); "
            "`process`: kill -9 (handed to the operating system); `memory`: nothing; `collector`: `append` itself "
            "waits for the collector's answer.", choices=("disk", "process", "memory", "collector")),
    Setting("spool_dir", str, "", "path", "application",
            "Where records wait for a peer, with durability `disk` and `process`; processes may share it. Unset: "
            "`otel-audit/spool` under XDG_STATE_HOME or ~/.local/state."),
    Setting("spool_max_bytes", int, 1024 * _MiB, "bytes", "application",
            "Bytes that undelivered records may take in the spool, those of all processes together.", least=1),
    Setting("spool_segment_bytes", int, 8 * _MiB, "bytes", "application",
            "Size at which a spool file is finished and the next one begun.", least=1),
    Setting("spool_keep_s", float, 72 * 3600.0, "seconds", "application",
            "How long delivered records stay in the spool, to be sent again should a peer have lost them.", least=0),
    Setting("spool_keep_bytes", int, 1024 * _MiB, "bytes", "application",
            "Most bytes of delivered records that stay in the spool.", least=0),
    Setting("heartbeat_s", float, 300.0, "seconds", "application",
            "How often each producer tells how many records it has numbered, so that a loss at the end shows; "
            "0: never.",
            least=0),
    Setting("timeout_s", float, 5.0, "seconds", "application",
            "How long an append waits for room, or with durability `collector` for the answer.", least=0),
    Setting("queue_max_records", int, 100_000, "records", "application",
            "Records that may wait for the sender.", least=1),
    Setting("queue_max_bytes", int, 64 * _MiB, "bytes", "application",
            "Bytes that may wait for the sender.", least=1),
    Setting("batch_max_records", int, 1_000, "records", "application", "Most records in one request.", least=1),
    Setting("batch_max_bytes", int, 4 * _MiB, "bytes", "application", "Most bytes in one request.", least=1),
    Setting("batch_delay_s", float, 0.05, "seconds", "application",
            "How long the sender waits for a batch to fill; a flush does not wait.", least=0),
    Setting("retry_initial_s", float, 0.2, "seconds", "application",
            "First pause after a failed request; doubled each time, with jitter.", least=0),
    Setting("retry_max_s", float, 30.0, "seconds", "application", "Longest pause between tries.", least=0),
    Setting("exit_flush_s", float, 10.0, "seconds", "application",
            "How long the interpreter's exit waits for delivery; where it is not set and a spool has the records, it "
            "ends after 1 s without progress.", least=0),
    # the collector's side
    Setting("data_dir", str, "otel-audit-data", "path", "collector", "The data folder."),
    Setting("host", str, "127.0.0.1", "address", "collector", "Address to listen on."),
    Setting("port", int, 4318, "port", "collector", "Port of OTLP/HTTP and of reading; 0 takes a free one.", least=0,
            most=65_535),
    Setting("insecure", bool, False, "", "collector",
            "Allow an address that other machines reach, without TLS or tokens."),
    Setting("max_request_bytes", int, 64 * _MiB, "bytes", "collector",
            "Largest request after decompression; more is answered 413.", least=1024),
    Setting("max_request_records", int, 500_000, "records", "collector",
            "Most records in one request; more is answered 413.", least=1),
    Setting("ingest_max_bytes", int, 512 * _MiB, "bytes", "collector",
            "Bytes of requests being read, decoded or committed; beyond it requests are answered 503.", least=1024),
    Setting("queue_wait_s", float, 2.0, "seconds", "collector",
            "Longest wait before decoding begins; longer is answered 503.", least=0),
    Setting("decode_workers", int, 0, "processes", "collector",
            "Processes that decode requests; 0 decodes in its own. With 1, a large request holds up the others.",
            least=0),
    Setting("read_timeout_s", float, 30.0, "seconds", "collector",
            "How far a request's body may fall behind 16 KiB/s before it is answered 503.", least=0.1),
    Setting("stop_timeout_s", float, 30.0, "seconds", "collector",
            "Longest wait for requests under way when stopping.", least=0),
    Setting("merge_fan_in", int, 32, "files", "collector", "Small hot files that are merged into one.", least=2),
    Setting("merge_big_rows", int, 65_536, "rows", "collector", "A hot file of this size is not merged.", least=1),
    Setting("hot_max_files", int, 56, "files", "collector",
            "Above this many hot files, smaller runs are merged too.", least=2),
    Setting("seal_rows", int, 1_000_000, "rows", "collector", "Rows of a sealed file.", least=1),
    Setting("seal_bytes", int, 128 * _MiB, "bytes", "collector", "Bytes of hot files that are sealed at once.",
            least=1),
    Setting("input_keep_s", float, 60.0, "seconds", "collector",
            "How long the inputs of a merge or seal stay for readers with an older list.", least=0),
    Setting("dedupe_window_s", float, 7 * 86_400.0, "seconds", "collector",
            "How long ids that carry their time stay in the index; older ones are looked up in the files.", least=0),
    Setting("index_run_rows", int, 262_144, "ids", "collector", "Ids in memory before they go to a run on disk.",
            least=1),
    Setting("quarantine_max_bytes", int, 1024 * _MiB, "bytes", "collector",
            "Bytes, as sent, of records that may wait in quarantine for a decision; of one service, half of that.",
            least=0),
    Setting("scrub_interval_s", float, 86_400.0, "seconds", "collector",
            "How long after one check of every byte on the disk the next one begins; 0 for never.", least=0),
    Setting("scrub_bytes_per_s", int, 8 * _MiB, "bytes", "collector", "How fast that check reads, at most.", least=1),
    Setting("min_free_bytes", int, 64 * _MiB, "bytes", "collector",
            "Free space below which requests are answered 503.", least=0),
    # reading
    Setting("query_threads", int, 2, "threads", "reading", "DuckDB's threads.", least=1),
    Setting("query_memory_bytes", int, 2048 * _MiB, "bytes", "reading", "DuckDB's memory limit.", least=64 * _MiB),
    Setting("read_answer_bytes", int, 16 * _MiB, "bytes", "reading",
            "About how large a page may become; one with larger records is shorter than `limit`, and its cursor "
            "goes on.", least=1024),
    Setting("read_time_limit_s", float, 30.0, "seconds", "reading",
            "How long the collector works on one read; then it is ended, and answered with what to narrow.",
            least=0.1),
    Setting("reads_at_once", int, 4, "reads", "reading", "Reads that the collector works on at the same time.",
            least=1),
    Setting("reads_waiting", int, 32, "reads", "reading",
            "Reads beyond those that may wait, or whose answers are still being taken; more are answered 503.",
            least=0),
    Setting("read_wait_s", float, 10.0, "seconds", "reading", "Longest wait of a read; longer is answered 503.",
            least=0),
    Setting("read_memory_bytes", int, 4096 * _MiB, "bytes", "reading",
            "Memory at which the collector's process for reads is ended and started again.", least=256 * _MiB),
)  # fmt: skip

_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings(Mapping[str, Any]):
    """Checked values of all settings, by attribute or by name. Immutable."""

    __slots__ = ("_sources", "_values")

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> None:
        self._values = dict(values)
        self._sources = dict(sources or {})

    def source(self, name: str) -> str:
        """What gave a setting its value: "argument", the variable's name, the file's path, or "default"."""
        return self._sources.get(name, "default")

    def with_arguments(self, **arguments: Any) -> Settings:
        """The same with some set anew; None means "not given". Raises ConfigError."""
        given = {name: value for name, value in arguments.items() if value is not None}
        values = {name: _BY_NAME[name].parse(value, name) for name, value in given.items()}
        return Settings({**self._values, **values}, {**self._sources, **dict.fromkeys(given, "argument")})

    def __getattr__(self, name: str) -> Any:
        if name in _BY_NAME:
            return self._values[name]
        raise AttributeError(name)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def load_settings(
    env: Mapping[str, str] | None = None, *, named: Callable[[Setting], str] | None = None, **arguments: Any
) -> Settings:
    """All settings, from arguments (None means "not given"), environment, TOML file and defaults.

    Args:
        env: default `os.environ`.
        named: what an error calls an argument; default the setting's name.

    Raises:
        ConfigError: an unknown name, a value of the wrong kind, a file that cannot be read.
    """
    env = os.environ if env is None else env
    unknown = set(arguments) - set(_BY_NAME)
    if unknown:
        raise ConfigError(f"no such setting: {', '.join(sorted(unknown))}")
    from_file = _read_file(env.get("OTEL_AUDIT_CONFIG", ""))
    values, sources = {}, {}
    for setting in SETTINGS:
        if arguments.get(setting.name) is not None:
            argument = setting.name if named is None else named(setting)
            values[setting.name] = setting.parse(arguments[setting.name], argument)
            sources[setting.name] = "argument"
        elif env.get(setting.env, "").strip():
            values[setting.name] = setting.parse(env[setting.env], setting.env)
            sources[setting.name] = setting.env
        elif setting.name in from_file:
            values[setting.name] = setting.parse(from_file[setting.name], f"{env['OTEL_AUDIT_CONFIG']}: {setting.name}")
            sources[setting.name] = env["OTEL_AUDIT_CONFIG"]
        else:
            values[setting.name] = setting.default
    return Settings(values, sources)


def _read_file(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"OTEL_AUDIT_CONFIG={path}: {error}") from None
    unknown = set(content) - set(_BY_NAME)
    if unknown:
        told = (f"{name}{_nearest(name, _BY_NAME)}" for name in sorted(unknown))
        raise ConfigError(f"{path}: no such setting: {', '.join(told)}")
    return content


def unknown_variables(env: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each variable that looks like a setting and is none, with the nearest one that is."""
    env = os.environ if env is None else env
    known = {"CONFIG", *(name.upper() for name in _BY_NAME)}
    given = sorted(name.removeprefix(_PREFIX) for name in env if name.startswith(_PREFIX))
    return [f"{_PREFIX}{name} is no setting{_nearest(name, known, _PREFIX)}" for name in given if name not in known]


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    found = get_close_matches(name, known, n=1)
    return f" (did you mean {prefix}{found[0]}?)" if found else ""
