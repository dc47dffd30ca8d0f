"""A repository's history as activities: nothing is invisible, nothing changes from run to run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.cli.git.activities import EARLIEST, activities, path_text
from otel_audit.cli.git.repository import open_repository
from otel_audit.errors import ImportSourceError
from otel_audit.model.record import ActivityRecord
from tests.cli.conftest import CLEAN, Stream, git, put

Maker = Callable[[Stream], Path]
TEXT = b"".join(b"line %d\n" % number for number in range(40))


def imported(path: Path, owner: str = "project") -> list[ActivityRecord]:
    repository = open_repository(path)
    return [
        record
        for commit in repository.history()
        for record in activities(commit, owner, boundary=commit.id in repository.boundary)
    ]


def summary(records: list[ActivityRecord]) -> list[tuple[str, str]]:
    assert all(record.entity_ref is not None for record in records)
    return [(record.action, str(record.entity_ref.entity_id)) for record in records]  # type: ignore[union-attr]


def test_each_status_has_its_action(make_repository: Maker) -> None:
    """Added, changed, renamed, copied, retyped and deleted files are six different actions."""
    stream = Stream()
    stream.commit(put(b"a", TEXT), put(b"link", b"old"))
    stream.commit(put(b"a", TEXT + b"more\n"), put(b"b", TEXT))
    stream.commit(b"R a c", put(b"link", b"target", b"120000"))
    stream.commit(b"D b")
    records = imported(make_repository(stream))
    assert summary(records) == [
        ("add_file", "a"),
        ("add_file", "link"),
        ("modify_file", "a"),
        ("copy_file", "b"),
        ("rename_file", "c"),
        ("change_type", "link"),
        ("delete_file", "b"),
    ]
    assert records[4].changes == {"path": ["a", "c"]}
    assert records[4].metadata["from"] == "a"
    assert records[5].changes == {"mode": ["100644", "120000"]}


def test_a_record_tells_author_owner_time_and_commit(make_repository: Maker) -> None:
    """Actor is the author's email, owner the repository, time the author's date, the commit is in the metadata."""
    stream = Stream()
    stream.commit(
        put(b"x.py", b"1"), subject="füge hinzu\n\nlong text".encode(),
        author="Chloé <chloe@example.com> 1600000000 +0530".encode(),
        committer=b"Bot <bot@example.com> 1700000000 +0000",
    )  # fmt: skip
    path = make_repository(stream)
    (record,) = imported(path, "owner")
    assert (record.actor_id, record.actor_name, record.owner_id) == ("chloe@example.com", "Chloé", "owner")
    assert record.occurred_at == datetime.fromtimestamp(1600000000, UTC)
    assert record.metadata == {"commit": git(path, "rev-parse", "main").decode().strip(), "subject": "füge hinzu"}


def test_merges_and_empty_commits_are_activities_of_the_commit(make_repository: Maker) -> None:
    """A commit that touches no file of its own still shows."""
    stream = Stream()
    first = stream.commit(put(b"a", b"1"))
    main = stream.commit(put(b"b", b"1"))
    side = stream.commit(put(b"c", b"1"), branch=b"side", parent=first)
    stream.commit(subject=b"merge", parent=main, merge=side)
    stream.commit(subject=b"nothing")
    records = imported(make_repository(stream))
    by_action = {record.action: record for record in records}
    assert sorted(record.action for record in records) == [
        "add_file", "add_file", "add_file", "empty_commit", "merge_commit",
    ]  # fmt: skip
    merge = by_action["merge_commit"]
    assert merge.entity_ref is not None
    assert merge.entity_ref.entity_type == "Commit"
    assert len(merge.metadata["parents"]) == 2


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b'"line\\nbreak"', "line\nbreak"),
        (b"with space", "with space"),
        ("größe.txt".encode(), "größe.txt"),
        (b'"caf\\351.txt"', '"caf\\351.txt"'),
        (b'"\\"quoted"', '"\\042quoted"'),
        (b":100644 000000 x y A", ":100644 000000 x y A"),
    ],
)
def test_odd_paths_arrive_as_text(make_repository: Maker, path: bytes, shown: str) -> None:
    """Line breaks, colons and quotes in a path mislead nobody; other bytes than UTF-8 are written as git does."""
    stream = Stream()
    stream.commit(put(path, b"1"))
    (record,) = imported(make_repository(stream))
    assert record.entity_ref is not None
    assert record.entity_ref.entity_id == shown


@given(st.lists(st.binary(min_size=1, max_size=6).filter(lambda raw: b"\0" not in raw), min_size=2, unique=True))
def test_different_paths_have_different_texts(paths: list[bytes]) -> None:
    """Writing a path as text is one to one."""
    assert len({path_text(path) for path in paths}) == len(paths)


def test_a_path_too_long_for_an_id_is_kept_whole_in_the_metadata(make_repository: Maker) -> None:
    """An id has a limit; the path is cut with a digest, and two long paths stay two."""
    long = b"/".join([b"d" * 100] * 8)
    stream = Stream()
    stream.commit(put(long + b"/one", b"1"), put(long + b"/two", b"2"))
    records = imported(make_repository(stream))
    assert [record.metadata["path"] for record in records] == [(long + end).decode() for end in (b"/one", b"/two")]
    assert len({record.entity_ref for record in records}) == 2


@pytest.mark.parametrize(
    ("author", "committer", "when", "source"),
    [
        (b"0", b"1700000000", datetime.fromtimestamp(1700000000, UTC), "committer"),
        (b"99999999999", b"1700000000", datetime.fromtimestamp(1700000000, UTC), "committer"),
        (b"0", b"0", EARLIEST, "none"),
    ],
)
def test_dates_that_no_calendar_holds_are_replaced_and_said(
    make_repository: Maker, author: bytes, committer: bytes, when: datetime, source: str
) -> None:
    """An author date out of range gives way to the committer's, and that to 1970; the metadata says which."""
    stream = Stream()
    stream.commit(
        put(b"a", b"1"),
        author=b"Ada <ada@example.com> %b +0000" % author,
        committer=b"Ada <ada@example.com> %b +0000" % committer,
    )
    (record,) = imported(make_repository(stream))
    assert record.occurred_at == when
    assert record.metadata["date"] == source


def test_names_that_are_no_utf8_or_missing_still_name_an_actor(make_repository: Maker) -> None:
    """A Latin-1 name is escaped, an author without email is known by name, one without both is "unknown"."""
    stream = Stream()
    stream.commit(put(b"a", b"1"), author=b"Jos\xe9 <jose@example.com> 1700000000 +0000")
    stream.commit(put(b"b", b"1"), author=b"Nameless <> 1700000000 +0000")
    stream.commit(put(b"c", b"1"), author=b" <> 1700000000 +0000")
    records = imported(make_repository(stream))
    assert [record.actor_id for record in records] == ["jose@example.com", "Nameless", "unknown"]
    assert records[0].actor_name == "Jos\\xe9"


def test_a_clone_gives_the_same_records(make_repository: Maker, tmp_path: Path) -> None:
    """Ids and content follow from the commits; neither a folder's name, a mailmap nor configuration changes them."""
    stream = Stream()
    stream.commit(put(b"a", TEXT), put(b".mailmap", b"Somebody <else@example.com> <ada@example.com>\n"))
    stream.commit(b"R a b")
    path = make_repository(stream)
    clone = tmp_path / "elsewhere" / "copy"
    git(path, "clone", "-q", str(path), str(clone))
    git(clone, "config", "diff.renames", "false")
    assert open_repository(clone).name == open_repository(path).name == "project"
    assert imported(clone) == imported(path)
    assert len({record.record_id for record in imported(path)}) == 3


def test_the_cut_of_a_shallow_clone_is_a_snapshot(make_repository: Maker, tmp_path: Path) -> None:
    """What a shallow clone's oldest commit holds was not added there; deepening it contradicts nothing."""
    stream = Stream()
    for number in range(4):
        stream.commit(put(b"f%d" % number, b"1"))
    path = make_repository(stream)
    shallow = tmp_path / "shallow"
    git(path, "clone", "-q", "--depth", "2", path.as_uri(), str(shallow))
    cut = imported(shallow)
    assert summary(cut) == [
        ("snapshot_file", "f0"), ("snapshot_file", "f1"), ("snapshot_file", "f2"), ("add_file", "f3"),
    ]  # fmt: skip
    whole = {record.record_id: record for record in imported(path)}
    assert all(whole.get(record.record_id, record) == record for record in cut)


def test_a_bare_repository_is_named_without_its_ending(make_repository: Maker, tmp_path: Path) -> None:
    """`project.git` is the project's data."""
    stream = Stream()
    stream.commit(put(b"a", b"1"))
    bare = tmp_path / "other.git"
    path = make_repository(stream)
    git(path, "clone", "-q", "--bare", str(path), str(bare))
    git(bare, "config", "--unset", "remote.origin.url")
    repository = open_repository(bare)
    assert (repository.name, repository.commits) == ("other", 1)


def test_what_is_no_history_is_a_clear_error(tmp_path: Path, make_repository: Maker) -> None:
    """A missing folder, a folder without a repository, one without commits and an unknown revision are told apart."""
    empty = tmp_path / "empty"
    subprocess.run(["git", "init", "-q", str(empty)], check=True, env=CLEAN)
    plain = tmp_path / "plain"
    plain.mkdir()
    stream = Stream()
    stream.commit(put(b"a", b"1"))
    good = make_repository(stream)
    for path, revision, words in (
        (tmp_path / "missing", "HEAD", "no such folder"),
        (plain, "HEAD", "not a git repository"),
        (empty, "HEAD", "no commit at HEAD"),
        (good, "no-such-branch", "no commit at no-such-branch"),
        (good, "--all", "no commit at --all"),
    ):
        with pytest.raises(ImportSourceError, match=words):
            open_repository(path, revision)


def test_without_git_the_error_names_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without git gets a sentence, not a traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportSourceError, match="git could not be started"):
        open_repository(tmp_path)


def test_a_damaged_history_is_an_error_and_no_short_answer(make_repository: Maker) -> None:
    """When git fails half-way, the import fails with git's own words."""
    stream = Stream()
    stream.commit(put(b"d/a", b"1"))
    stream.commit(put(b"d/b", b"1"))
    path = make_repository(stream)
    tree = git(path, "rev-parse", "main:d").decode().strip()
    for pack in (path / ".git" / "objects" / "pack").glob("*.pack"):
        raw = pack.read_bytes()
        for index in pack.parent.glob("*.idx"):
            index.unlink()
        pack.unlink()
        git(path, "unpack-objects", "-q", stdin=raw)
    loose = path / ".git" / "objects" / tree[:2] / tree[2:]
    loose.unlink()
    with pytest.raises(ImportSourceError, match="git could not read the history"):
        imported(path)
