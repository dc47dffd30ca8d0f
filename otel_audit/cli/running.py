"""Talking to a collector that runs: it owns its folder, so what changes the folder is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from otel_audit.delivery.cause import cause
from otel_audit.errors import FolderLockedError, NoLogError, ReaderUnavailableError, StorageError
from otel_audit.log.folder import read_identity, read_owner
from otel_audit.model.printing import public_url
from otel_audit.otlp.names import LOG_HEADER

__all__ = ["ask", "owner_url"]

_TIMEOUT_S = 600.0
"""A seal writes everything that is committed; on a big folder that takes its time."""


def owner_url(folder: Path) -> str | None:
    """Where the collector that owns a data folder can be reached; None when nobody owns it.

    Raises:
        NoLogError: there is no log in the folder.
        FolderLockedError: something owns it that has no address.
    """
    if read_identity(folder) is None:
        raise NoLogError(f"{folder} holds no log")
    owner = read_owner(folder)
    if owner is None:
        return None
    url = owner.get("url")
    if not isinstance(url, str):
        raise FolderLockedError(f"{folder} is owned by process {owner.get('pid', 'unknown')}, which serves no address")
    return url


def ask(
    url: str,
    path: str,
    content: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    cacert: Path | None = None,
) -> dict[str, Any]:
    """POST to a collector and give its JSON answer. Redirects are not followed: headers are for the host named alone.

    Args:
        headers: for a proxy in front of it.
        cacert: CA certificates that its own must go back to.

    Raises:
        ReaderUnavailableError: nothing of ours answers there.
        StorageError: the collector refused; its words are the message.
    """
    shown = public_url(url)
    try:
        # No proxy of the environment: a collector answers this only to its own machine.
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                url.rstrip("/") + path,
                data=content,
                headers=dict(headers or {}),
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                verify=True if cacert is None else str(cacert),
            )
    except requests.RequestException as error:
        raise ReaderUnavailableError(f"{shown} does not answer: {cause(error)}") from error
    try:
        body = answer.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict) or LOG_HEADER not in answer.headers:
        raise ReaderUnavailableError(f"{shown} is no collector of otel-audit (status {answer.status_code})")
    if not answer.ok:
        raise StorageError(f"{shown}: {body.get('detail') or body.get('title') or answer.status_code}")
    return body
