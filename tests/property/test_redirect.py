"""Properties of the redirect: whatever the bytes, only documented ends; outside the value no byte changes; there and back is the same file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from palclient.errors import ConfigError
from palclient.ini import read_ini
from palclient.redirect import FileChange, Status, plan_redirect, undo_redirect
from palclient.redirect.change import Wish, planned
from palclient.redirect.journal import read_journal
from palclient.servername import parse_servername

settings.register_profile("redirect", deadline=None)  # what a file can cost is measured elsewhere; a busy machine is no defect
settings.load_profile("redirect")

NEW = "27000@new1,27000@new2,27000@new3"
WISHES = [
    Wish(to=parse_servername(NEW)),
    Wish(to=parse_servername("@x")),
    Wish(port=28000),
    Wish(to=parse_servername(NEW), only_from=parse_servername("27000@old")),
    Wish(to=parse_servername(NEW), add="License"),
]

LINES = st.sampled_from(
    "[a]|[A] ;x|[License]|[b|SERVERNAME=27000@old| servername = 'x' |ServerName\t=|; SERVERNAME=c|SERVERNAME=27000@a;27000@b|SERVERNAME=\"1@a,2@b,3@c\"|k=v||=|é=ü".split(
        "|"
    )
)
ENDS = st.sampled_from(["\n", "\r\n", "\r", " \x1a\n", ""])
TEXTS = st.lists(st.tuples(LINES, ENDS), max_size=10).map(lambda pairs: "".join(line + end for line, end in pairs))
ENCODINGS = st.sampled_from([(b"", "latin-1"), (b"", "utf-8"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Files that look like INI files, with some damage."""
    bom, codec = draw(ENCODINGS)
    content = bom + draw(TEXTS).encode(codec)
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=2)) + content[at + draw(st.integers(0, 2)) :]


@given(contents() | st.binary(max_size=80), st.sampled_from(WISHES))
def test_any_bytes_get_their_new_value_and_keep_the_rest_or_a_reason_is_given(content: bytes, wish: Wish) -> None:
    """R1, R7: through the file system, without writing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.ini")
        path.write_bytes(content)
        found = planned(str(path), wish)
    if not isinstance(found, FileChange):
        assert found.status is Status.RIGHT or found.reason
        assert found.status is not Status.CHANGED
        return
    result = found.applied_to(content)
    assert result is not None
    assert str(read_ini(result).servername()) == found.new
    assert found.reversed().applied_to(result) == content
    assert _without(content, [(splice.start, len(splice.old)) for splice in found.splices]) == _without(
        result, [(splice.start, len(splice.old)) for splice in found.reversed().splices]
    )
    assert found.hunk.startswith(f"--- {path}")
    if wish.add is None:
        assert all(span in _values(content) for span in [(splice.start, splice.start + len(splice.old)) for splice in found.splices])


def _without(content: bytes, holes: list[tuple[int, int]]) -> bytes:
    for start, length in reversed(holes):
        content = content[:start] + content[start + length :]
    return content


def _values(content: bytes) -> list[tuple[int, int]]:
    return [entry.span for entry in read_ini(content).entries()]


@settings(max_examples=30)
@given(st.lists(contents(), min_size=1, max_size=4))
def test_there_and_back_restores_every_file(files: list[bytes]) -> None:
    """R5: on a disk, all of a folder."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.ini") for number in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        report = plan_redirect(folder, to=NEW).apply(journal=Path(folder, "journal"))
        changed = {outcome.path for outcome in report.of(Status.CHANGED)}
        for path, content in zip(paths, files, strict=True):
            assert (path.read_bytes() != content) == (str(path) in changed)
        if report.journal is not None:
            undo_redirect(report.journal)
        assert [path.read_bytes() for path in paths] == files


JOURNAL = b'{"palclient_redirect": 1, "run": "ab"}\n{"n":0,"path":"p","target":"t","line":1,"old":"","new":"","old_sha256":"a","new_sha256":"b","splices":[[0,"YQ==",""]]}\n'


@given(
    st.integers(0, len(JOURNAL)), st.integers(0, 9), st.binary(max_size=9) | st.sampled_from([b"null", b"-1", b"[]", b"{}", b'"', b"1e999", b"NaN"])
)
def test_a_damaged_journal_is_read_as_far_as_it_goes_or_refused(at: int, cut: int, put: bytes) -> None:
    """R5."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        path.write_bytes(JOURNAL[:at] + put + JOURNAL[at + cut :])
        try:
            run, changes = read_journal(str(path))
        except ConfigError:
            return
    assert run.isalnum()
    assert all(isinstance(change, FileChange) for change in changes)
