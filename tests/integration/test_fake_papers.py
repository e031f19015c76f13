"""The files that a fake triad is run from, with real processes: the options file (G7)."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from fakeserver import FakeNode, FakeTriad, FakeTriadError
from tests.integration.test_fake_triad import ASKED, ask

pytestmark = pytest.mark.real


def code(node: FakeNode, user: str, *, feature: str = "X") -> int:
    """The status of a checkout of one seat, or the code of its refusal."""
    status, body = ask(node, "PUT", f"/v1/checkouts/{uuid.uuid4()}", {**ASKED, "feature": feature, "holder": {"user": user, "host": "pc7"}})
    return int(body.get("code", status))


def test_the_options_file_is_read_at_the_start_and_on_reread(tmp_path: Path) -> None:
    """G7: codes -38, -39, -87, -101 over HTTP; a file that cannot be read changes nothing; a reset keeps what was read last."""
    file = tmp_path / "palisade.opt"
    file.write_text("EXCLUDE X USER bob\nRESERVE 1 X USER ann\nMAX 1 X USER carl\nTIMEOUT X 900\n", encoding="ascii")
    with FakeTriad(features={"X": 2, "Y": 1}, options_file=file) as triad:
        triad.wait_until_serving(15.0)
        assert [code(triad.primary, user) for user in ("bob", "carl", "carl", "dora", "ann")] == [-38, 201, -87, -101, 201]
        (read, *_) = triad.journal.named("options")
        assert (read.facts["file"], read.facts["rules"]) == (str(file), 3)
        assert "TIMEOUT is read and not played" in str(read.facts["problems"])
        file.unlink()
        with pytest.raises(ValueError, match=r"palisade\.opt"):
            triad.reread()
        file.write_text("INCLUDE Y USER ann\n", encoding="ascii")
        assert code(triad.primary, "bob", feature="Y") == 201
        triad.reread()
        assert code(triad.primary, "bob", feature="Y") == -39
        triad.reset()
        assert [code(triad.primary, "bob"), code(triad.primary, "bob", feature="Y")] == [201, -39]


def test_a_node_does_not_start_without_its_options_file(tmp_path: Path) -> None:
    """G7: the file is named."""
    with pytest.raises(FakeTriadError, match=r"nowhere\.opt"), FakeTriad(features={"X": 1}, options_file=tmp_path / "nowhere.opt"):
        pass
