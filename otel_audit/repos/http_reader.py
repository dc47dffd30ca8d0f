"""`HttpReader`: the reader port over a collector's (or an application's) routes under /v1/audit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import requests
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    attach,
    detach,
    set_value,
)
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ProtocolError

from otel_audit.delivery.cause import cause
from otel_audit.errors import (
    ClosedError,
    ConfigError,
    InvalidCursorError,
    InvalidFilterError,
    InvalidRecordError,
    PositionBeyondEndError,
    ReaderUnavailableError,
    RecordNotFoundError,
)
from otel_audit.model.completeness import Completeness, completeness_from_json
from otel_audit.model.filters import MAX_PAGE, Filter, LogPosition, Order, checked_record_id
from otel_audit.model.ids import Id, IdLike, format_id, parse_id
from otel_audit.model.pages import Cursor, Page, format_cursor
from otel_audit.model.printing import printable, public_url
from otel_audit.model.problem_json import PROBLEM_MEDIA_TYPE, problem_type
from otel_audit.model.reading import RecordReads, Selection
from otel_audit.model.record import ActivityRecord
from otel_audit.model.record_json import format_position, page_from_json, record_from_json
from otel_audit.model.streams import StreamReport
from otel_audit.repos.http_query import Query, filter_query
from otel_audit.repos.http_streams import read_reports

__all__ = ["HttpReader"]

_PREFIX = "/v1/audit"
_CONNECTIONS, _MOST_VALUES = 32, 100_000
_MOST_URL = 60_000
"""A collector takes heads of 64 KiB."""
_SURELY_TAKEN = 4_000
"""Other servers and proxies take less, but so much every one (RFC 9112 §3 asks for 8,000)."""
_TOO_LONG_STATUS = frozenset({400, 413, 414, 431})
_TOO_LONG = "the filter makes a URL of {} characters, and {}; ask for less at once, or read the data folder"
_COUNTED_IDS = frozenset({"actor_id", "owner_id", "entity_id", "tenant_id"})


class HttpReader(RecordReads):
    """Reads over HTTP. Safe to share between threads, and usable in a forked child.

    A read may be repeated, so one that loses its kept-alive connection is sent once more; nothing else is. Redirects
    are not followed: credentials go to the host that was named and to no other. Its requests are not traced.

    Args:
        url: the collector's base URL, or that of an application that serves /v1/audit; with or without /v1/audit.
        headers: sent with each request, such as Authorization.
        timeout_s: longest wait for a connection, and for the next bytes of an answer.
        cacert: CA certificates that an https server's own must go back to; default the usual ones.
        session: the caller's own session (proxies, client certificates); it is not closed here.

    Raises:
        ConfigError: `url` is no http(s) URL, or there is no file `cacert`.

    Reads raise ReaderUnavailableError when nobody answers or somebody else does, InvalidFilterError and
    InvalidCursorError as every reader does, and ClosedError after `close()`.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        cacert: str | None = None,
        session: requests.Session | None = None,
    ) -> None:
        self._base = _base_url(url)
        if cacert is not None and not Path(cacert).is_file():
            raise ConfigError(f"{cacert}: no such file with CA certificates")
        self._cacert = cacert
        self._shown = public_url(self._base)
        self._headers = {"Accept": f"application/json, {PROBLEM_MEDIA_TYPE}", **(headers or {})}
        self._timeout_s = timeout_s
        self._own = session is None
        self._session = session or _new_session(cacert)
        self._pid = os.getpid()
        self._closed = False

    @property
    def url(self) -> str:
        """The base URL, without a password."""
        return self._shown

    def close(self) -> None:
        """Let go of the connections; a second call does nothing."""
        self._closed = True
        if self._own:
            self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- what RecordReads asks for ---

    def _select(self, where: Filter, order: Order, limit: int | None, beyond: tuple[int, str] | None) -> Selection:
        asked = filter_query(where)
        if asked is None:
            return Selection([])
        if beyond is None:
            start: Query = [*asked, ("order", order)]
        else:
            start = [("cursor", format_cursor(Cursor(where, order, beyond)))]
        page = self._page([*start, ("limit", str(MAX_PAGE if limit is None else min(limit, MAX_PAGE)))])
        if page.next_cursor is not None and not page.records:
            raise self._unlike_ours("an empty page that is not the last one")
        return Selection(page.records, page.next_cursor is not None and len(page.records) != limit)

    def _select_log(
        self, where: Filter, after: LogPosition, limit: int
    ) -> tuple[Sequence[ActivityRecord], LogPosition | None]:
        asked = filter_query(where)
        if asked is None:
            return [], None
        limit = min(limit, MAX_PAGE)
        page = self._page([*asked, ("after", format_position(after)), ("limit", str(limit))])
        return page.records, page.position

    def get_by_id(self, record_id: IdLike) -> ActivityRecord | None:
        """The record with that id, or None."""
        name = quote(format_id(checked_record_id(record_id)), safe="")
        try:
            return record_from_json(self.get_json(f"/records/{name}", []))
        except RecordNotFoundError:
            return None
        except InvalidRecordError as error:
            raise self._unlike_ours(f"a record that cannot be read ({error})") from error

    def count(self, where: Filter | None = None) -> int:
        """How many records match."""
        asked = filter_query(where or Filter())
        return 0 if asked is None else self._whole(self.get_json("/count", asked), "count")

    def _count_by(self, field: str, where: Filter) -> dict[Id | None, int]:
        asked = filter_query(where)
        if asked is None:
            return {}
        answered = self.get_json("/count", [*asked, ("by", field), ("limit", str(_MOST_VALUES))])
        if answered.get("others"):
            raise ReaderUnavailableError(
                f"{field} has more than {_MOST_VALUES} values here; ask for less at once, or read the data folder"
            )
        rows = answered.get("counts")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._unlike_ours("no list of counts")
        counts: dict[Id | None, int] = {}
        for row in rows:
            value = row.get("value")
            if value is not None and not isinstance(value, str):
                raise self._unlike_ours("a count of something that is not text")
            key = parse_id(value) if value is not None and field in _COUNTED_IDS else value
            counts[key] = self._whole(row, "count")
        return counts

    def stream_reports(
        self, stream_ids: Sequence[str] | None = None, *, incomplete: bool = False
    ) -> list[StreamReport]:
        """What became of the numbers of each producer's stream; see `StreamReader`."""
        wanted = None if stream_ids is None else set(stream_ids)
        if wanted is not None and not wanted:
            return []
        query: Query = [("incomplete", "true")] if incomplete else []
        if wanted is not None and len(wanted) == 1:
            # Several are picked from one answer instead: the server reads its whole log for each question.
            query.extend(("stream_id", stream_id) for stream_id in wanted)
        try:
            reports = read_reports(lambda page: self.get_json("/streams", page), query)
        except InvalidRecordError as error:
            raise self._unlike_ours(f"streams that cannot be read ({error})") from error
        return [report for report in reports if wanted is None or report.stream_id in wanted]

    def completeness(self) -> Completeness:
        """What no report on a stream can show; see `StreamReader`."""
        try:
            return completeness_from_json(self.get_json("/completeness", []))
        except InvalidRecordError as error:
            raise self._unlike_ours(f"a completeness that cannot be read ({error})") from error

    # --- requests and what comes back ---

    def _page(self, query: Query) -> Page:
        try:
            return page_from_json(self.get_json("/records", query))
        except InvalidRecordError as error:
            raise self._unlike_ours(f"a page that cannot be read ({error})") from error

    def get_json(self, path: str, query: Query) -> dict[str, Any]:
        """What a route below /v1/audit answers."""
        try:
            encoded = urlencode(query, quote_via=quote, safe="")
        except UnicodeEncodeError as error:
            raise InvalidFilterError(f"{error.object!r:.64} holds a lone surrogate") from None
        target = f"{self._base}{_PREFIX}{path}{'?' if encoded else ''}{encoded}"
        if len(target) > _MOST_URL:
            raise InvalidFilterError(_TOO_LONG.format(len(target), f"there may be {_MOST_URL}"))
        response = self._send(target)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        body = None
        if media_type in ("application/json", PROBLEM_MEDIA_TYPE):
            try:
                body = json.loads(response.content, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                raise self._unlike_ours(f"{response.status_code} and broken JSON ({error})") from error
        if isinstance(body, dict):
            if response.status_code == 200:
                return body
            if media_type == PROBLEM_MEDIA_TYPE:
                raise self._problem(response.status_code, body)
        if response.status_code in _TOO_LONG_STATUS and len(target) > _SURELY_TAKEN:
            raise InvalidFilterError(_TOO_LONG.format(len(target), f"{self._shown} answers {response.status_code}"))
        told = f"{response.status_code} {printable(media_type) or 'without a content type'}"
        if response.is_redirect:
            elsewhere = public_url(response.headers["Location"])
            raise self._unlike_ours(f"{response.status_code} to {elsewhere:.256}; redirects are not followed")
        raise self._unlike_ours(f"{told}, {response.text[:80]!r}")

    def _send(self, target: str) -> requests.Response:
        if self._closed:
            raise ClosedError(f"the reader of {self._shown} is closed")
        session = self._session_here()
        token = attach(
            set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True))
        )
        try:
            prepared = session.prepare_request(requests.Request("GET", self._base + "/", headers=self._headers))
            prepared.headers.update(self._headers)  # a .netrc entry must not replace what the caller gave
            prepared.url = target  # set here, because preparing would fold "." and ".." and decode %7E
            # With the session's own certificates, for a file that the environment names would win against None.
            merged = session.merge_environment_settings(self._base, {}, False, session.verify, None)
            options: dict[str, Any] = dict(merged)
            options |= {"timeout": self._timeout_s, "allow_redirects": False}
            try:
                return session.send(prepared, **options)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                if not _was_dropped(error):
                    raise
            return session.send(prepared, **options)
        except requests.RequestException as error:
            raise ReaderUnavailableError(f"{self._shown} cannot be read: {cause(error)}") from error
        finally:
            detach(token)

    def _session_here(self) -> requests.Session:
        """The session; a forked child must not use its parent's sockets, or each would read the other's answers."""
        if self._pid != os.getpid():
            if self._own:
                self._session = _new_session(self._cacert)
            else:
                self._session.close()
            self._pid = os.getpid()
        return self._session

    def _problem(self, status: int, problem: dict[str, Any]) -> Exception:
        title, detail = (printable(str(problem.get(name, ""))) for name in ("title", "detail"))
        for known in (InvalidFilterError, InvalidCursorError, PositionBeyondEndError, RecordNotFoundError):
            if problem.get("type") == problem_type(known):
                return known(detail)
        return ReaderUnavailableError(f"{self._shown} answered {status} {title}: {detail}")

    def _whole(self, values: dict[str, Any], name: str) -> int:
        value = values.get(name)
        if type(value) is not int:
            raise self._unlike_ours(f"{name} that is no whole number")
        return value

    def _unlike_ours(self, what: str) -> ReaderUnavailableError:
        return ReaderUnavailableError(f"{self._shown} does not serve {_PREFIX}: it answered {what}")


def _base_url(url: str) -> str:
    try:
        prepared = requests.Request("GET", url.strip()).prepare().url or ""
        parts = urlsplit(prepared)
    except (requests.RequestException, ValueError) as error:
        raise ConfigError(f"{public_url(url)!r} is no URL to read from: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{public_url(url)!r} is no URL to read from: http://host:port is")
    path = parts.path.rstrip("/").removesuffix(_PREFIX).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _new_session(cacert: str | None) -> requests.Session:
    session = requests.Session()
    session.verify = cacert or True
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session


def _was_dropped(error: requests.RequestException) -> bool:
    """Whether a connection ended that had been made: a kept-alive one the server gave up meanwhile."""
    return any(isinstance(argument, ProtocolError) for argument in error.args)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
