"""Reading git's answer: any path, any subject, and nothing but our own error for anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_audit.cli.git.history import FileChange, HistoryCommit, parse_history
from otel_audit.errors import ImportSourceError

field = st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b""))
path = st.binary(min_size=1, max_size=12).map(lambda raw: raw.replace(b"\0", b":"))
ids = st.binary(min_size=20, max_size=20).map(bytes.hex)
mode = st.sampled_from(["000000", "100644", "100755", "120000", "160000"])
plain = st.builds(FileChange, st.sampled_from("AMDT"), path, mode, mode)
moved = st.builds(FileChange, st.sampled_from("RC"), path, mode, mode, path, st.integers(0, 100))
commits = st.lists(
    st.builds(
        HistoryCommit, ids, st.lists(ids, max_size=3).map(tuple), field, field, field, field, field,
        st.lists(plain | moved, max_size=4),
    ),
    max_size=4,
)  # fmt: skip


def format_history(history: list[HistoryCommit]) -> bytes:
    """What `git diff-tree` writes for these commits, seen in its own output."""
    out = []
    for commit in history:
        parents = " ".join(commit.parents).encode()
        texts = (commit.author_name, commit.author_email, commit.author_time, commit.committer_time, commit.subject)
        out.append(b"\0".join((b"", commit.id.encode(), parents, *texts, b"")))
        for at, change in enumerate(commit.changes):
            score = b"" if change.score is None else b"%03d" % change.score
            blob = b"0" * 40
            head = b":%b %b %b %b %b%b" % (
                change.old_mode.encode(), change.new_mode.encode(), blob, blob, change.status.encode(), score,
            )  # fmt: skip
            paths = (change.path,) if change.source is None else (change.source, change.path)
            out.append((b"\n" if at == 0 else b"") + b"\0".join((head, *paths, b"")))
    return b"".join(out)


@given(commits, st.integers(1, 40))
def test_reading_gives_back_what_was_written_however_it_is_cut(history: list[HistoryCommit], size: int) -> None:
    """parse(format(x)) == x, for every size of the chunks it comes in."""
    raw = format_history(history)
    assert list(parse_history(raw[at : at + size] for at in range(0, len(raw), size))) == history


@given(st.binary(max_size=200) | st.lists(st.sampled_from([b"\0", b":", b"a" * 40, b"\n", b" "])).map(b"".join))
def test_any_other_bytes_raise_only_our_error(raw: bytes) -> None:
    """Bytes that git would not write are an ImportSourceError, or happen to be commits."""
    try:
        found = list(parse_history([raw]))
    except ImportSourceError:
        return
    assert all(isinstance(commit, HistoryCommit) for commit in found)
