"""Flags that come from tables: settings from `config.SETTINGS`, conditions of a search from `FILTER_FLAGS`.

Typer reads a command's flags from its signature; here the signature is extended, so that a new row in a table is a new
flag in every command that takes it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from otel_audit.cli.moments import parse_moment
from otel_audit.cli.options import CacertOption, DataOption, HeaderOption, Source, UrlOption, parsed_headers
from otel_audit.config import SETTINGS, Setting, Settings, load_settings
from otel_audit.model.filters import Filter, entity_filter

__all__ = ["FILTER_FLAGS", "setting_flag", "with_filter", "with_settings", "with_source"]

_ENTITY, _SINCE, _UNTIL = "entity", "since", "until"
FILTER_FLAGS: dict[str, tuple[str, str, str]] = {
    "actor_id": ("--actor", "ID", "Who did it."),
    "owner_id": ("--owner", "ID", "Whose data it is."),
    "action": ("--action", "VERB", "The application's verb, exactly."),
    _ENTITY: ("--entity", "TYPE ID", "The thing acted upon, as two words: its type and its id."),
    "entity_type": ("--entity-type", "TYPE", "Things of one type."),
    "outcome": ("--outcome", "WORD", "success, failure or unknown."),
    "actor_type": ("--actor-type", "WORD", "user, service or system."),
    "tenant_id": ("--tenant", "ID", "Tenant."),
    "request_id": ("--request", "ID", "Request."),
    "session_id": ("--session", "ID", "Session."),
    "on_behalf_of": ("--on-behalf-of", "ID", "For whom the actor acted."),
    "trace_id": ("--trace", "HEX", "OpenTelemetry trace, 32 hex digits."),
    _SINCE: ("--since", "TIME", "From this moment on: 2026-11-24, 2026-11-24T10:30:00Z, or 7d, 12h, 30m ago."),
    _UNTIL: ("--until", "TIME", "Up to this moment, without it."),
}
"""Keyword of `Filter`: flag, how its value is written, help."""

_RANGE = (_SINCE, _UNTIL)


def with_settings(function: Callable[..., None], chosen: Callable[[Setting], bool]) -> Callable[..., None]:
    """`function(settings, **own)` as a command that has a flag for each chosen setting besides its own."""
    taken = [setting for setting in SETTINGS if chosen(setting)]

    def settings(values: Mapping[str, Any]) -> Settings:
        return load_settings(named=setting_flag, **values)

    return _extended(function, "settings", [_setting_parameter(setting) for setting in taken], settings)


def with_filter(function: Callable[..., None], *, only_range: bool = False) -> Callable[..., None]:
    """`function(where, **own)` as a command that has the flags of a filter (or only its time range) besides its own."""
    names = _RANGE if only_range else tuple(FILTER_FLAGS)
    return _extended(function, "where", [_filter_parameter(name) for name in names], _filter)


def with_source(function: Callable[..., None]) -> Callable[..., None]:
    """`function(source, **own)` as a command that has the flags of a reading command besides its own."""
    flags = {"data": DataOption, "url": UrlOption, "header": HeaderOption, "cacert": CacertOption}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in flags.items()
    ]
    return _extended(function, "source", parameters, _source)


def setting_flag(setting: Setting) -> str:
    """The flag of a setting."""
    return f"--{setting.name.replace('_', '-')}"


def _extended(
    function: Callable[..., None],
    parameter: str,
    flags: list[inspect.Parameter],
    build: Callable[[Mapping[str, Any]], Any],
) -> Callable[..., None]:
    own = inspect.signature(function, eval_str=True)
    names = [flag.name for flag in flags]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        built = build({name: given.pop(name) for name in names})
        function(**{parameter: built}, **given)

    kept = [p.replace(kind=p.KEYWORD_ONLY) for p in own.parameters.values() if p.name != parameter]
    _sign(command, [*kept, *flags])
    return command


def _sign(function: Any, parameters: Iterable[inspect.Parameter]) -> None:
    listed = list(parameters)
    function.__signature__ = inspect.Signature(listed)
    function.__annotations__ = {p.name: p.annotation for p in listed}
    # Without this `inspect` would look at the wrapped function's own parameters instead.
    del function.__wrapped__


def _setting_parameter(setting: Setting) -> inspect.Parameter:
    flag = setting_flag(setting)
    names = [f"{flag}/--no-{flag[2:]}"] if setting.type is bool else [flag]
    if setting.name == "data_dir":
        names.append("--data")
    default = str(setting.default).lower() if setting.type is bool else setting.default
    words = f"{setting.help} Default {'unset' if default == '' else default}."
    option = typer.Option(*names, help=words, metavar=None if setting.type is bool else _metavar(setting))
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[setting.type | None, option]
    )


def _source(values: Mapping[str, Any]) -> Source:
    return Source(values["data"], values["url"], parsed_headers(values["header"] or ()), values["cacert"])


def _metavar(setting: Setting) -> str:
    return (setting.unit or setting.type.__name__).upper().replace(" ", "-")


def _filter_parameter(name: str) -> inspect.Parameter:
    flag, metavar, words = FILTER_FLAGS[name]
    kind: Any = tuple[str, str] if name == _ENTITY else str
    option = typer.Option(flag, metavar=metavar, help=words, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _filter(values: Mapping[str, Any]) -> Filter:
    given = {name: value for name, value in values.items() if value is not None}
    if _ENTITY in given:
        given["entity_ref"] = entity_filter(*given.pop(_ENTITY))
    now = datetime.now(UTC)
    for name in _RANGE:
        if name in given:
            given[name] = parse_moment(given[name], now, f"--{name}")
    return Filter(**given)
