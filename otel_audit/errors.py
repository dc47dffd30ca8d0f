"""Every error this package raises on purpose: one tree, sorted by whose fault it is.

An application catches a family (`RecordError`, ...). Third-party exceptions do not cross the edge of a room: chained.
"""

from __future__ import annotations

from typing import ClassVar


class OtelAuditError(Exception):
    """Root of the tree. `exit_code`, `http_status`: what `otel-audit` exits with (1-125), and what an HTTP answer
    carries. `retryable`, `advice`: whether the same call may succeed later, unchanged; and what to do next."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = "This is a fault in otel-audit; please report it with the traceback."

    def diagnostics(self) -> str:
        """What happened and what to do next, as text for a person."""
        return f"{self}\n{self.advice}"


# --- the caller's record ---------------------------------------------------------------------------------------------
class RecordError(OtelAuditError):
    """The record handed in cannot be stored; nothing was accepted."""

    exit_code = 65
    http_status = 422
    advice = "Correct the record and append it again; nothing was stored."


class InvalidRecordError(RecordError):
    """A field breaks a rule. `field` names it (`metadata.items[3]`), `rule` says what would have been right."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class StillHeldError(InvalidRecordError):
    """A record in quarantine cannot be released; `field` names it, `rule` says why."""

    advice = "It stays held. See it with `otel-audit quarantine show`; send it corrected and drop this one."


class HookError(RecordError):
    """A `before_append` hook raised or returned no record; the append did not happen."""

    advice = "Mend the hook or take it out of `hooks=`; the record was not stored."

    def __init__(self, hook: str, problem: str) -> None:
        super().__init__(f"before_append hook {hook} {problem}")
        self.hook = hook


# --- configuration ---------------------------------------------------------------------------------------------------
class ConfigError(OtelAuditError):
    """A setting, an argument or the installation is not usable."""

    exit_code = 78
    advice = "Correct the setting named above; `otel-audit settings` lists them all."


class MissingExtraError(ConfigError):
    """A feature needs packages that the base install leaves out."""

    advice = "Install the extra named above."

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'otel-audit[{extra}]'")
        self.extra = extra


class ImportSourceError(ConfigError):
    """What should be imported cannot be read: no repository, no commits, a damaged history."""

    exit_code = 66
    advice = "Name a folder with a git repository that has commits; `git log` there shows what git itself says."


# --- delivery --------------------------------------------------------------------------------------------------------
class DeliveryError(OtelAuditError):
    """A record could not be taken or brought to its collector."""

    exit_code = 75
    http_status = 503
    advice = "Look at the endpoint: `otel-audit ping` says what it answers."


class BacklogFullError(DeliveryError):
    """What waits for the peer fills its room and did not drain in time; the record was not accepted."""

    retryable = True
    advice = "See `otel-audit spool status`; try later, or raise OTEL_AUDIT_SPOOL_MAX_BYTES (memory: QUEUE_MAX_BYTES)."


class UndeliveredError(DeliveryError):
    """A wait ended with `count` records held still or refused. `kept`: what is held stays in the spool, to be sent."""

    retryable = True
    advice = "The records are still held unless the peer refused them; mend the endpoint and flush again."

    def __init__(self, count: int, why: str, *, kept: bool = False) -> None:
        super().__init__(f"{count} record(s) not acknowledged: {why}")
        self.count = count
        self.kept = kept


class NotDeliveredError(DeliveryError):
    """A command ended before all of its records were acknowledged; it keeps none of the rest."""

    advice = "Mend that and run the command again; one id is stored once."


class PeerRefusedError(DeliveryError):
    """The peer answered that it will never take these records (4xx, or a partial success that rejects some)."""

    advice = "The peer's answer is final. Check the endpoint, the token and what stands between you and the collector."


class ReceiptExpiredError(DeliveryError):
    """A receipt was asked after so many later records that what became of its record is not remembered any more."""

    advice = "Look the record up by its id; `refusals` and `otel-audit spool list` show what a peer refused."


class SpoolUnwritableError(DeliveryError):
    """The spool's disk refused a write (full, read-only, failing); the record was not accepted."""

    exit_code = 74
    retryable = True
    advice = "Free space on the disk of OTEL_AUDIT_SPOOL_DIR, or mend it, and append again; it is tried anew."


class SpoolFileError(DeliveryError):
    """A file in the spool is damaged, foreign, or of a later format. What could be read of it is delivered."""

    exit_code = 74
    advice = "The file is kept whole in the spool's folder `aside`; look at it there, nothing deletes it."


class SpoolUnreadableError(DeliveryError):
    """There is no spool in the folder named, or this user may not read it, or its disk fails."""

    exit_code = 66
    advice = "Name the spool by --spool-dir or OTEL_AUDIT_SPOOL_DIR, and work as the user whose applications write it."


class StillSpooledError(DeliveryError):
    """A command that sends what is in a spool ended before all of it was answered for."""

    advice = "The records stay in the spool. Mend the endpoint, or name another one by --endpoint, and run it again."


class ClosedError(DeliveryError):
    """The repo, log or reader was used after `close()`."""

    advice = "Open a new one; close() is final."


# --- storage ---------------------------------------------------------------------------------------------------------
class StorageError(OtelAuditError):
    """A data folder cannot be used as it is. Nothing in it was changed."""

    exit_code = 74
    http_status = 503
    advice = "Nothing was changed. Look at the file or folder named above."


class NotADataFolderError(StorageError):
    """The folder holds something else than an otel-audit log."""

    advice = "Name the folder the collector was started with (OTEL_AUDIT_DATA_DIR); a new log needs an empty one."


class NoLogError(NotADataFolderError):
    """There is no log in the folder that should be read."""

    advice = "Name the folder the collector was started with (OTEL_AUDIT_DATA_DIR), or its URL (OTEL_AUDIT_READER)."


class NewerFormatError(StorageError):
    """The folder was written by a newer release."""

    advice = "Upgrade otel-audit; older releases never touch a newer format."


class FolderLockedError(StorageError):
    """Another process owns the data folder."""

    retryable = True
    advice = "Stop the other process, or use its HTTP address instead of the folder."


class WrongOwnerError(StorageError):
    """The data folder, a part of it or its lock belongs to another user, or the lock is no plain file."""

    advice = "Work as the user who owns the folder (`sudo -u USER otel-audit …`), or give it to this one (`chown -R`)."


class UnwritableError(StorageError):
    """The disk refused a write (full, read-only, failing). Nothing was acknowledged; it is tried again."""

    retryable = True
    advice = "Free space or mend the disk; the collector goes on by itself when the cause is gone."


class ArchiveFaultError(StorageError):
    """The files contradict each other: a missing range, an overlap, a damaged or foreign file."""

    advice = "Nothing was deleted. Restore the files from a backup; what is gone: `otel-audit repair --accept-loss`."


class CopiedFolderError(StorageError):
    """The data folder is a copy, or was moved: as it is, two collectors could write to one log."""

    advice = "If the original is gone: `otel-audit repair --moved`. If it lives on: `otel-audit repair --copied`."


# --- a peer's bytes --------------------------------------------------------------------------------------------------
class PeerBytesError(OtelAuditError):
    """Bytes that came over the network are not what they claim to be."""

    exit_code = 76
    http_status = 400
    advice = "The sender must be corrected; sending the same bytes again will not help."


class MalformedRequestError(PeerBytesError):
    """Not an OTLP ExportLogsServiceRequest, or a damaged compression frame."""


class UnsupportedMediaTypeError(PeerBytesError):
    """A content type or content encoding that is not served here."""

    http_status = 415


class RequestTooLargeError(PeerBytesError):
    """More bytes (after decompression) or records than one request may have."""

    http_status = 413
    advice = "Send smaller batches."


class OverloadedError(OtelAuditError):
    """No room for the request now; nothing of it was kept."""

    exit_code = 75
    http_status = 503
    retryable = True
    advice = "Send the same request again after a second."


# --- queries ---------------------------------------------------------------------------------------------------------
class QueryError(OtelAuditError):
    """A question that cannot be answered as asked."""

    exit_code = 64
    http_status = 400
    advice = "Correct the question; nothing was changed."


class InvalidFilterError(QueryError):
    """A filter, limit, order or time range breaks a rule."""


class PositionBeyondEndError(QueryError):
    """A follower's position (`after`) lies beyond the end of the log: it is not the log that was followed."""

    advice = "The log was restored from an older copy or lost its end: follow it again from before its end."


class InvalidCursorError(QueryError):
    """Not a cursor of ours, or one that belongs to another question."""

    advice = "Start again without a cursor, or repeat the filter the cursor was made with."


class RecordNotFoundError(QueryError):
    """No record has that id."""

    http_status = 404
    exit_code = 66
    advice = "Check the id; a record is readable from the moment it was acknowledged."


class ReaderUnavailableError(QueryError):
    """The reader's data or server cannot be reached now."""

    http_status = 503
    exit_code = 69
    retryable = True
    advice = "Check the reader's address or folder and try again."


class ReadLimitError(QueryError):
    """The read took longer than one may."""

    http_status = 503
    exit_code = 75
    advice = "Ask for less: a shorter time with since and until, one actor, owner or entity, or a smaller limit."


# --- verification ----------------------------------------------------------------------------------------------------
class VerificationError(OtelAuditError):
    """Something that was checked does not hold."""

    exit_code = 3
    advice = "Treat the data as suspect until the difference is explained; keep a copy of everything."


class MissingNumbersError(VerificationError):
    """Records that producers numbered are neither archived nor accounted for."""

    advice = "Run `otel-audit spool resend --missing` where the producers' spools are; see docs/completeness.md."
