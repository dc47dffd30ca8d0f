"""The routes under /v1/audit: each reads its parameters, asks the reader, and writes JSON.

Endpoints are plain functions, so the framework runs them in its thread pool and a slow query holds up no other
request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from otel_audit.errors import InvalidFilterError, RecordNotFoundError
from otel_audit.model.completeness import completeness_to_json
from otel_audit.model.filters import Filter, checked_order, entity_filter
from otel_audit.model.ids import MAX_ID_CHARS, Id, parse_id
from otel_audit.model.pages import Page
from otel_audit.model.problem_json import PROBLEM_MEDIA_TYPE, problem_from_error
from otel_audit.model.record_json import parse_position, record_to_json
from otel_audit.ports import ActivityLogReader, FolderInspector, StreamReader
from otel_audit.web import parameters, schemas
from otel_audit.web.examples import ANSWERS, PREFIX, PROBLEMS, UNAVAILABLE
from otel_audit.web.limited import counts_to_json, streams_to_json
from otel_audit.web.paths import path_names
from otel_audit.web.pieces import page_answer
from otel_audit.web.problems import AuditRoute, ElsewhereRoute, answer, unknown_path

__all__ = ["create_router", "documented_answers"]


def create_router(
    reader: ActivityLogReader, *, time_limit_s: float | None = None, folder: FolderInspector | None = None
) -> APIRouter:
    """Routes under /v1/audit that answer from `reader`; for `include_router` of any FastAPI application.

    A read ends when its client goes away, and after `time_limit_s`. Without `folder`, /status and /quarantine
    answer 404.

    Errors under the prefix are problem details (RFC 9457) whatever the application does with its own. Who may read is
    the application's to decide: `include_router(create_router(reader), dependencies=[...])`.
    """
    route_class: type[AuditRoute] = type("TimedRoute", (AuditRoute,), {"time_limit_s": time_limit_s})
    router = APIRouter(prefix=PREFIX, route_class=route_class, tags=["audit"])

    def route(
        path: str, operation: str, summary: str, model: Any, takes: dict[str, Any]
    ) -> Callable[[Callable[[Request], Response]], Callable[[Request], Response]]:
        return router.get(
            path,
            operation_id=operation,
            name=operation,
            summary=summary,
            response_model=model,
            responses=documented_answers(operation),
            openapi_extra=takes,
        )

    @route(
        "/records",
        "listRecords",
        "Records that match, in pages",
        schemas.Page,
        parameters.documented(parameters.SEARCH),
    )
    def list_records(request: Request) -> Response:
        """All conditions hold together. Pages stay right while records arrive."""
        values = parameters.read_query(request, parameters.SEARCH)
        page = reader.search(
            parameters.read_filter(values),
            limit=parameters.parse_limit(values),
            cursor=values.get("cursor"),
            order=checked_order(values["order"]) if "order" in values else None,
            after=parse_position(values["after"]) if "after" in values else None,
        )
        return page_answer(page)

    @route(
        "/records/{record_id:path}",
        "getRecord",
        "One record",
        schemas.Record,
        parameters.documented((), ["record_id"]),
    )
    def get_record(request: Request) -> Response:
        """The record with this id."""
        parameters.read_query(request, ())
        (text,) = path_names(request.scope, ["record_id"])
        record = reader.get_by_id(_id(text, "record_id"))
        if record is None:
            raise RecordNotFoundError(f"no record has the id {text!r}")
        return answer(record_to_json(record))

    @route(
        "/entities/{entity_type:path}/{entity_id:path}",
        "listByEntity",
        "The history of one thing",
        schemas.Page,
        parameters.documented(parameters.LIST, ["entity_type", "entity_id"]),
    )
    def list_by_entity(request: Request) -> Response:
        """The newest `limit` activities on it. In the type write a slash as %2F; `.` and `..` need the filters of
        `/records`, because many clients fold them into the path."""
        entity_type, entity_id = path_names(request.scope, ["entity_type", "entity_id"])
        return _newest(reader, request, entity_ref=entity_filter(entity_type, entity_id))

    @route(
        "/actors/{actor_id:path}",
        "listByActor",
        "What one actor did",
        schemas.Page,
        parameters.documented(parameters.LIST, ["actor_id"]),
    )
    def list_by_actor(request: Request) -> Response:
        """The actor's newest `limit` activities."""
        (text,) = path_names(request.scope, ["actor_id"])
        return _newest(reader, request, actor_id=_id(text, "actor_id"))

    @route(
        "/owners/{owner_id:path}",
        "listByOwner",
        "What happened to one owner's data",
        schemas.Page,
        parameters.documented(parameters.LIST, ["owner_id"]),
    )
    def list_by_owner(request: Request) -> Response:
        """The newest `limit` activities on the owner's data."""
        (text,) = path_names(request.scope, ["owner_id"])
        return _newest(reader, request, owner_id=_id(text, "owner_id"))

    @route(
        "/actions/{action:path}",
        "listByAction",
        "Every use of one verb",
        schemas.Page,
        parameters.documented(parameters.LIST, ["action"]),
    )
    def list_by_action(request: Request) -> Response:
        """The newest `limit` activities with this verb."""
        (text,) = path_names(request.scope, ["action"])
        return _newest(reader, request, action=text)

    @route("/count", "countRecords", "How many match", schemas.Count, parameters.documented(parameters.COUNT))
    def count_records(request: Request) -> Response:
        """With `by`, how many per value of a field as well."""
        values = parameters.read_query(request, parameters.COUNT)
        where = parameters.read_filter(values)
        if "by" not in values:
            return answer({"count": reader.count(where)})
        most = parameters.parse_limit(values, parameters.DEFAULT_VALUES, parameters.MAX_VALUES)
        return answer(counts_to_json(values["by"], reader.count_by(values["by"], where), most))

    @route(
        "/streams",
        "listStreams",
        "What became of producers' numbers",
        schemas.Streams,
        parameters.documented(parameters.STREAMS),
    )
    def list_streams(request: Request) -> Response:
        """Per stream of numbered records: what is archived, in quarantine, missing, awaited. Longest unseen first."""
        if not isinstance(reader, StreamReader):
            return unknown_path(request.scope["path"])
        values = parameters.read_query(request, parameters.STREAMS)
        incomplete = parameters.parse_flag(values, "incomplete")
        most = parameters.parse_limit(values, parameters.DEFAULT_STREAMS, parameters.MAX_STREAMS)
        reports = reader.stream_reports(parameters.read_stream_ids(values), incomplete=incomplete)
        return answer(streams_to_json(reports, values.get("cursor", ""), most))

    @route(
        "/completeness",
        "getCompleteness",
        "What no stream can show",
        schemas.Completeness,
        parameters.documented(()),
    )
    def get_completeness(request: Request) -> Response:
        """How many records carry no number, so that nothing shows whether all are here, and which rows are lost."""
        if not isinstance(reader, StreamReader):
            return unknown_path(request.scope["path"])
        parameters.read_query(request, ())
        return answer(completeness_to_json(reader.completeness()))

    @route("/status", "getStatus", "What the data folder holds", schemas.Status, parameters.documented(()))
    def get_status(request: Request) -> Response:
        """Rows, files, bytes, time span, quarantine, and which files contradict each other."""
        if folder is None:
            return unknown_path(request.scope["path"])
        parameters.read_query(request, ())
        return answer(folder.status())

    @route(
        "/quarantine",
        "listQuarantine",
        "What is held in quarantine",
        schemas.Quarantine,
        parameters.documented(parameters.QUARANTINE),
    )
    def list_quarantine(request: Request) -> Response:
        """Records that were accepted, are no valid activities and wait for a decision, without their bytes. Oldest
        first."""
        if folder is None:
            return unknown_path(request.scope["path"])
        values = parameters.read_query(request, parameters.QUARANTINE)
        most = parameters.parse_limit(values, parameters.DEFAULT_HELD, parameters.MAX_HELD)
        where = parameters.read_held_filter(values)
        return answer(folder.quarantined(where, limit=most, cursor=values.get("cursor")))

    @route(
        "/quarantine/{sha256:path}",
        "getQuarantined",
        "One held record with its bytes",
        schemas.HeldRecord,
        parameters.documented((), ["sha256"]),
    )
    def get_quarantined(request: Request) -> Response:
        """Why it is held, and the OTLP request as it came."""
        if folder is None:
            return unknown_path(request.scope["path"])
        parameters.read_query(request, ())
        (text,) = path_names(request.scope, ["sha256"])
        return answer(folder.quarantined_record(text))

    for elsewhere in ("", "/{rest:path}"):
        router.add_api_route(
            elsewhere,
            _nothing_here,
            include_in_schema=False,
            response_model=None,
            route_class_override=ElsewhereRoute,
        )
    return router


def _nothing_here(request: Request) -> Response:
    return unknown_path(request.scope["path"])


def _newest(reader: ActivityLogReader, request: Request, **condition: Any) -> Response:
    """The newest `limit` records. Fewer where they would be too large together: then with the cursor of the rest."""
    values = parameters.read_query(request, parameters.LIST)
    span = parameters.read_filter(values)
    order, limit = checked_order(values.get("order", "asc")), parameters.parse_limit(values)
    where = Filter(**condition, since=span.since if span else None, until=span.until if span else None)
    page = reader.search(where, limit=limit, order="desc")
    records = page.records if order == "desc" else page.records[::-1]
    return page_answer(Page(records, page.next_cursor if len(records) < limit else None))


def _id(text: str, field: str) -> Id:
    if len(text) > MAX_ID_CHARS:
        raise InvalidFilterError(f"{field}: must be at most {MAX_ID_CHARS} characters, not {len(text)}")
    return parse_id(text)


def documented_answers(operation: str) -> dict[int | str, dict[str, Any]]:
    """What an operation answers, with examples: each one's summary is the request that gives it."""
    problems: dict[int, dict[str, Any]] = {}
    for request, error in PROBLEMS[operation].items():
        problems.setdefault(error.http_status, {})[request] = problem_from_error(error)
    documented: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The answer.",
            "content": {"application/json": {"examples": _examples(ANSWERS[operation])}},
        }
    }
    for status, description in (
        (400, "The question breaks a rule."),
        (404, "No record has that id."),
        (503, "The log cannot be read now; `Retry-After` says when to try again."),
    ):
        examples = {next(iter(ANSWERS[operation])): UNAVAILABLE} if status == 503 else problems.get(status, {})
        if status != 404 or examples:
            content: dict[str, Any] = {"schema": schemas.Problem.model_json_schema()}
            if examples:
                content["examples"] = _examples(examples)
            documented[status] = {"description": description, "content": {PROBLEM_MEDIA_TYPE: content}}
    return documented


def _examples(values: Any) -> dict[str, Any]:
    return {
        f"example{at}": {"summary": f"GET {request}", "value": value}
        for at, (request, value) in enumerate(values.items(), start=1)
    }
