"""read_ini: Windows' rules, every byte kept, and a value replaced in its place.  The texts of the messages stand in tests/scenarios."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from palclient.errors import IniError, PalError, ServerNameError
from palclient.ini import SIZE_LIMIT_BYTES, IniDocument, read_ini
from tests.privileges import named_pipe

NEW = "27001@new1,27001@new2,27001@new3"


def value(content: str | bytes, key: str = "SERVERNAME") -> str | None:
    """What ``key`` is in an INI file with this content."""
    entry = read_ini(content.encode("latin-1") if isinstance(content, str) else content).find(key)
    return None if entry is None else entry.value


@pytest.mark.parametrize(
    "content, expected",
    [
        ("[s]\nSERVERNAME=a", "a"),
        ("[s]\nservername = a \n", "a"),
        ("[s]\n \t\v\fServerName\t=\va\f\x1a\n", "a"),
        ("[s]\nSERVERNAME=a=b", "a=b"),
        ('[s]\nSERVERNAME="a"', "a"),
        ("[s]\nSERVERNAME=' a '", " a "),
        ("[s]\nSERVERNAME=\"'a'\"", "'a'"),
        ("[s]\nSERVERNAME=\"a'", "\"a'"),
        ('[s]\nSERVERNAME="', '"'),
        ('[s]\nSERVERNAME=""', ""),
        ("[s]\nSERVERNAME=  ", ""),
        ("[s]\nSERVERNAME=a ; b", "a ; b"),
        ("[s]\nSERVERNAME=%a% \\\n b", "%a% \\"),
        ("[s]\n;SERVERNAME=a", None),
        ("[s]\n  ; SERVERNAME=a\nSERVERNAME=b", "b"),
        ("[s]\n#SERVERNAME=a", None),
        ("[s]\nSERVERNAME: a", None),
        ("[s]\nSERVERNAME", None),
        ("[s]\nSERVERNAME\nSERVERNAME=a", "a"),
        ("[s]\nMYSERVERNAME=a\nSERVERNAME2=b", None),
        ("[s]\nx=SERVERNAME=a", None),
        ("SERVERNAME=a", None),
        ("SERVERNAME=a\n[s]\nSERVERNAME=b", "b"),
        ("[s] SERVERNAME=a", None),
        ("[s]x\nSERVERNAME=a", "a"),
        ("[s\nSERVERNAME=a", "a"),
        ("s]\nSERVERNAME=a", None),
        ("[]\nSERVERNAME=a", "a"),
        ("  [s]\nSERVERNAME=a", "a"),
        (";[s]\nSERVERNAME=a", None),
        ("[s]\nSERVERNAME=a\nSERVERNAME=b", "a"),
        ("[s]\n[t]\n[ S ]\nSERVERNAME=a", None),
        ("[s]\nSERVERNAME=a\n[S]\nSERVERNAME=b", "a"),
        ("[s]\r\rSERVERNAME=a\r\nx=y", "a"),
        ("[s]\n\r\nSERVERNAME=a\x85b\u00a0", "a\x85b\u00a0"),
        ("", None),
    ],
)
def test_a_value_is_found_as_windows_finds_it(content: str, expected: str | None) -> None:
    """I1, I3; sections as GetPrivateProfileString was measured to read them."""
    assert value(content) == expected


@pytest.mark.parametrize("bom, codec", [(b"", "latin-1"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end_is_read_and_spliced_without_touching_another_byte(bom: bytes, codec: str, newline: str) -> None:
    """I3, R1."""
    before = newline.join(["; Größe", "[s]", "x=1", "  ServerName = '"])
    after = newline.join(["' \t", "SERVERNAME=b", "y = 2 ; é"])
    document = read_ini(bom + (before + "27000@a" + after).encode(codec))
    entry = document.servername_entry()
    assert (entry.value, entry.line, entry.column, entry.quote) == ("27000@a", 4, 17, "'")
    assert document.raw[slice(*entry.span)] == "27000@a".encode(codec)
    assert document.spliced(entry, NEW) == bom + (before + NEW + after).encode(codec)
    assert document.spliced(entry, entry.value) == document.raw


@pytest.mark.parametrize("line", ["K=", "K= ", "K=old", 'K=""', "K = 'old' \x1a", "K=old ; remark", 'K="old'])
def test_what_is_spliced_in_is_read_back(line: str) -> None:
    """R1: after the splice the result yields the new value."""
    document = read_ini(f"[s]\r\n{line}\r\nz=1".encode())
    entry = document.find("k")
    assert entry is not None
    result = document.spliced(entry, NEW)
    assert value(result, "K") == NEW
    assert len(result) == len(document.raw) - (entry.span[1] - entry.span[0]) + len(NEW)


@pytest.mark.parametrize("text", [" a", "a ", '"a"', "a\nb", "ä", "a\0", "a\tb"])
def test_what_would_not_be_read_back_is_not_spliced_in(text: str) -> None:
    """R1."""
    document = read_ini(b"[s]\nSERVERNAME=old\n")
    with pytest.raises(IniError, match="line 2"):
        document.spliced(document.servername_entry(), text)


def test_a_value_with_half_a_character_in_it_can_be_replaced() -> None:
    """R1; found by the property test: UTF-16 with a lone surrogate."""
    document = read_ini(b"\xfe\xff" + "[s]\nSERVERNAME=a\ud832b\n".encode("utf-16-be", "surrogatepass"))
    result = document.spliced(document.servername_entry(), NEW)
    assert result == b"\xfe\xff" + f"[s]\nSERVERNAME={NEW}\n".encode("utf-16-be")


@pytest.mark.parametrize("other", [b"[s]\nSERVERNAME=b\n", b"[s]\n", b"\xff\xfe[\0s\0]\0\n\0"])
def test_an_entry_of_another_file_is_not_spliced(other: bytes) -> None:
    """R1: a file that changed since must not be overwritten in the wrong place."""
    entry = read_ini(b"[s]\nSERVERNAME=a\n").servername_entry()
    with pytest.raises(IniError, match="another file"):
        read_ini(other).spliced(entry, NEW)


def test_every_entry_is_listed_with_the_reason_for_which_it_does_not_count() -> None:
    """I1: later ones are warned about."""
    document = read_ini(b"K=0\n[a]\nK=1\nK=2\n[b]\nK=3\n[A]\nK=4\n")
    assert [(entry.value, entry.section, bool(entry.shadowed_by)) for entry in document.entries("K")] == [
        ("0", None, True),
        ("1", "a", False),
        ("2", "a", True),
        ("3", "b", False),
        ("4", "A", True),
    ]
    assert [warning.line for warning in document.warnings("K")] == [1, 4, 8]


def test_a_section_can_be_named() -> None:
    """I2."""
    document = read_ini(b"[a]\nSERVERNAME=27000@a\n[ B ] x\nSERVERNAME=27000@b\n[c]\n")
    assert str(document.servername(section="b")) == "27000@b"
    assert str(document.servername(section=" A ")) == "27000@a"
    with pytest.raises(IniError, match=r"section \[c\] has no SERVERNAME. Line 2 has one, but it is in section \[a\]"):
        document.servername(section="c")


def test_two_sections_that_say_different_things_are_an_error_that_shows_both() -> None:
    """I2."""
    document = read_ini(b"[a]\nSERVERNAME=27000@a\n[b]\nSERVERNAME=27000@b\n")
    with pytest.raises(IniError) as caught:
        document.servername()
    assert (caught.value.line, caught.value.column) == (4, 12)
    assert "line 2, [a]: 27000@a" in str(caught.value)
    assert "line 4, [b]: 27000@b" in str(caught.value)


def test_two_sections_of_one_name_cannot_contradict_each_other() -> None:
    """I2: of equal names only the first exists (I1)."""
    assert str(read_ini(b"[a]\nSERVERNAME=27000@a\n[A]\nSERVERNAME=27000@b\n").servername()) == "27000@a"


def test_an_error_in_the_value_is_placed_in_the_file() -> None:
    """N6."""
    with pytest.raises(ServerNameError) as caught:
        read_ini("[s]\n ServerName =  '27000@a\uff0cb'".encode()).servername()
    assert (caught.value.line, caught.value.column, caught.value.position) == (2, 24, 7)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"[s]\nSERVERNAME=\0a", "line 2: has a NUL byte"),
        (b"\xef\xbb\xbf[s]\0", "NUL byte"),
        ("[s]\nSERVERNAME=a\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("[s]\nSERVERNAME=a\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        ("[s]\nSERVERNAME=a\n".encode("utf-32"), "UTF-32"),
        (b"x" * (SIZE_LIMIT_BYTES + 1), "1 MiB"),
    ],
)
def test_what_is_no_ini_file_is_refused(content: bytes, reason: str) -> None:
    """I3."""
    with pytest.raises(IniError, match=reason):
        read_ini(content)


def test_a_file_of_exactly_one_mib_is_read() -> None:
    """I3: files over 1 MiB are errors."""
    assert value(b"[s]\nSERVERNAME=a\n".ljust(SIZE_LIMIT_BYTES)) == "a"


@pytest.mark.parametrize(
    "content, warned",
    [
        (b"\xef\xbb\xbf[s]\nSERVERNAME=a", "UTF-8 byte order mark"),
        (b"\xef\xbb\xbf;\n[s]\nSERVERNAME=a", None),
        (b"\xfe\xff" + "[s]\nSERVERNAME=a".encode("utf-16-be"), "big-endian"),
        (b"\xff\xfe" + "[s]\nSERVERNAME=a\n".encode("utf-16-le") + b"x", "middle of a character"),
    ],
)
def test_an_encoding_that_windows_does_not_read_is_warned_about(content: bytes, warned: str | None) -> None:
    """I3."""
    document = read_ini(content)
    assert document.servername_entry().value == "a"
    assert [warning for warning in document.warnings() if warned is None or warned not in warning.message] == []
    assert len(document.warnings()) == (warned is not None)


def test_a_file_is_read_by_its_path_and_tells_what_it_was(tmp_path: Path) -> None:
    """I3; api.md: str and PathLike are paths, bytes are content."""
    path = tmp_path / "palclient.ini"
    path.write_bytes(b"[s]\r\nSERVERNAME=27000@a\r\n")
    for source in (path, str(path)):
        document = read_ini(source)
        assert (document.path, document.raw, document.mtime_ns) == (str(path), path.read_bytes(), path.stat().st_mtime_ns)
        assert document.servername().source == f"{path}, line 2"


def test_what_cannot_be_read_is_an_ini_error_with_its_path(tmp_path: Path) -> None:
    """Style 14: no foreign exception, the cause kept."""
    (tmp_path / "folder.ini").mkdir()
    (tmp_path / "loop.ini").symlink_to(tmp_path / "loop.ini")
    for name in ("missing.ini", "folder.ini", "loop.ini", "nul\0.ini"):
        path = str(tmp_path / name)
        with pytest.raises(IniError, match="cannot be read") as caught:
            read_ini(path)
        assert caught.value.path == path
        assert caught.value.__cause__ is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_named_pipe_does_not_block_the_reader(tmp_path: Path) -> None:
    """Style 16: nothing waits without an end."""
    named_pipe(tmp_path / "pipe.ini")
    with pytest.raises(IniError, match="not a file"):
        read_ini(tmp_path / "pipe.ini")


@pytest.mark.parametrize("bom, codec", [("", "latin-1"), ("\ufeff", "utf-16-le")])
def test_each_of_thousands_of_shadowed_keys_has_its_right_place(bom: str, codec: str) -> None:
    """I1; lines and bytes are counted on from entry to entry, so that such a file costs no square of its size."""
    document = read_ini((bom + "[s]\n" + "K=1\r\n" * 20_000).encode(codec))
    last = document.entries("K")[-1]
    assert last.line == 20_001
    assert document.raw[slice(*last.span)].decode(codec) == "1"
    assert document.raw[last.span[1] :].decode(codec) == "\r\n"


def test_content_without_a_path_is_named_in_errors() -> None:
    """N6."""
    with pytest.raises(PalError, match="INI content: no section has a SERVERNAME"):
        read_ini(b"").servername()


def test_a_document_does_not_print_its_content() -> None:
    """A log line with a document in it must not hold a megabyte."""
    assert repr(read_ini(b"[s]\n" + b"x" * 10_000)) == "IniDocument(encoding='8-bit', path=None, mtime_ns=None)"
    assert isinstance(read_ini(b""), IniDocument)


@pytest.mark.skipif(sys.platform != "linux", reason="files whose size the system does not know beforehand")
def test_a_file_is_read_to_its_end_whatever_size_it_is_said_to_have() -> None:
    """I3: the size is only a hint; a file may grow meanwhile, and some say 0."""
    assert read_ini("/proc/self/status").raw.startswith(b"Name:")
    assert read_ini("/proc/self/status").raw.count(b"\n") > 10
