"""The files that a fake triad is run from, with real processes: the license file (T10 to T13) and the options file (G7)."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakeserver import FakeNode, FakeTriad, FakeTriadError
from fakeserver.__main__ import main
from palclient import Client
from palclient.cli.license import signed_license
from palclient.licensefile import read_license_file
from palclient.signing import new_key
from tests.integration.test_fake_triad import ASKED, ask

pytestmark = pytest.mark.real

LICENSE = signed_license(
    """\
SERVER lic1 0A0027000001 27000 PRIMARY_IS_MASTER HEARTBEAT_INTERVAL=10
SERVER lic2 0A0027000002 27000
SERVER lic3 0A0027000003 27000
VENDOR palisade
FEATURE X palisade 8.0 permanent 2
INCREMENT X palisade 9.0 permanent 1
FEATURE OLD palisade 8.0 31-dec-2020 5
FEATURE COMING palisade 8.0 permanent 5 START=1-jan-2999
FEATURE FREE palisade 8.0 permanent uncounted HOSTID=ANY
FEATURE STRANGE elsewhere 8.0 permanent 5
""",
    new_key(),
)
EVERYWHERE = [("127.0.0.1", "ANY"), ("127.0.0.2", "ANY"), ("127.0.0.3", "ANY")]
needs_three_addresses = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no 127.0.0.2 unless somebody sets it up")


def written(folder: Path, text: str, name: str = "license.dat") -> Path:
    """A license file with this text."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def code(node: FakeNode, user: str, *, feature: str = "X", version: str = "0") -> int:
    """The status of a checkout of one seat, or the code of its refusal."""
    asked = {**ASKED, "feature": feature, "version": version, "holder": {"user": user, "host": "pc7"}}
    status, body = ask(node, "PUT", f"/v1/checkouts/{uuid.uuid4()}", asked)
    return int(body.get("code", status))


# --- the license file ---------------------------------------------------------------------------------------------------------------


@needs_three_addresses
def test_a_triad_runs_from_a_license_file(tmp_path: Path) -> None:
    """T10, T12, -10, -21, -31: the pools, versions and dates of its lines; an interval of 10 s, to scale; a node that finds it altered does not start."""
    file = written(tmp_path, LICENSE)
    with FakeTriad(license_file=file, ports=(0, 0, 0)) as triad:
        assert [node.host for node in triad.nodes] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        master = triad.wait_until_serving(15.0)
        status = triad.status()["primary"]
        assert (status["heartbeat_interval_s"], status["failover_s"], status["primary_is_master"]) == (0.05, pytest.approx(0.195), True)
        assert [(pool["feature"], pool["total"]) for pool in triad.usage()["features"]] == [("X", 3), ("OLD", 5), ("COMING", 5)]
        assert [code(master, "ann", version="8.5") for _ in range(2)] == [201, -4]
        assert [code(master, "ann", version="8.0") for _ in range(3)] == [201, 201, -4]
        assert [code(master, "ann", version="9.1"), code(master, "ann", feature="OLD"), code(master, "ann", feature="COMING")] == [-21, -10, -31]
        refused = ask(master, "PUT", f"/v1/checkouts/{uuid.uuid4()}", {**ASKED, "feature": "OLD"})[1]
        assert refused["detail"] == f"The license of 'OLD' has expired: its last day was 2020-12-31 ({file}, line 9)."
        (read, *_) = triad.journal.named("license")
        assert read.facts["not_served"] == ["line 13: an uncounted license needs no server", "line 15: no VENDOR line names elsewhere"]
        assert triad.write_license(tmp_path / "copy.dat").read_text(encoding="utf-8") == LICENSE
        written(tmp_path, LICENSE.replace("permanent 2", "permanent 3", 1))
        with pytest.raises(FakeTriadError, match=r"license\.dat, line 5: .*\(-8\)"):
            triad.tertiary.restart()
        assert triad.tertiary.state == "down"


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("SERVER lic3 0A0027000003 27000\n", "", "line 2: There are 2 SERVER lines. (-2)"),
        ("VENDOR", "SERVER lic4 ANY 27000\nVENDOR", "line 4: There are 4 SERVER lines. (-2)"),
        ("27000 PRIMARY_IS_MASTER", "PRIMARY_IS_MASTER 27000", "line 1: PRIMARY_IS_MASTER stands before the port. (-2)"),
        ("0002 27000", "0002 27000 PRIMARY_IS_MASTER", "line 2: PRIMARY_IS_MASTER stands on SERVER line 2. (-2)"),
        ("INTERVAL=10", "INTERVAL=121", "line 1: HEARTBEAT_INTERVAL is 121, and 120 is the most. (-2)"),
        (
            "0A0027000002",
            "0A0027000009",
            "line 5: The signature of X does not fit: the line, or a host ID of a SERVER line, was changed after it was signed. (-8)",
        ),
        ("8.0 permanent 2", "8.0 permanent 3", "line 5: The signature of X does not fit: the line, or a host ID"),
    ],
)
def test_a_node_does_not_start_with_a_license_that_is_none(old: str, new: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T10, T12: refused with file, line, reason and the field's number, and exit code 2."""
    assert old in LICENSE
    file = written(tmp_path, LICENSE.replace(old, new, 1))
    assert main(["--license", str(file), "--node", "secondary", "--state-dir", str(tmp_path / "state")]) == 2
    assert f"{file}, {told}" in capsys.readouterr().err


def test_a_node_does_not_start_with_a_license_for_other_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T12: -9, for one node on the command line and for a machine of a triad."""
    file = written(tmp_path, LICENSE)
    assert main(["--license", str(file), "--node", "primary", "--hostid", "0A0027000009", "--state-dir", str(tmp_path / "state")]) == 2
    reason = f"{file}, line 1: No SERVER line has the host ID of this machine, 0A0027000009. (-9)"
    assert reason in capsys.readouterr().err
    with (
        pytest.raises(FakeTriadError, match=r"has the host ID of this machine, 0A0027000009\. \(-9\)"),
        FakeTriad(license_file=file, ports=(0, 0, 0), hosts=["127.0.0.1"] * 3, hostids=["0A0027000009", "0A0027000002", "0A0027000003"]),
    ):
        pass


def test_files_that_differ_in_their_order_are_played_in_the_alphabetical_one(tmp_path: Path) -> None:
    """T11: the roles, and the two lines in each log."""
    lines = [f"SERVER {host} ANY 27000\n" for host in ("gamma", "alpha", "beta")]
    rest = "VENDOR palisade\nFEATURE X palisade 1.0 permanent 1\n"
    here, there = (written(tmp_path, "".join([*order, rest]), name) for name, order in (("here.dat", lines), ("there.dat", lines[::-1])))
    with FakeTriad(license_file=[here, there, here], ports=(0, 0, 0), hosts=["127.0.0.1"] * 3) as triad:
        triad.wait_until_serving(15.0)
        for node in triad.nodes:
            texts = [line.split(" ", 2)[2] for line in node.log_lines()]
            assert texts[:2] == ["License File SERVER line order mismatch.", "Using alphabetical order"]
        (alpha, *_) = [entry for entry in triad.journal.named("license") if entry.node == "primary"]
        assert alpha.facts["file"] == str(there)  # alpha is the machine of the second SERVER line


@needs_three_addresses
def test_a_server_without_a_port_is_found_on_the_first_that_is_free(tmp_path: Path) -> None:
    """T13: by clients that say @host."""
    lines = "".join(f"SERVER {host} {hostid}\n" for host, hostid in EVERYWHERE)
    file = written(tmp_path, f"{lines}VENDOR palisade\nFEATURE X palisade 1.0 permanent 1\n")
    with FakeTriad(license_file=file) as triad:
        triad.wait_until_serving(15.0)
        assert all(27000 <= node.port <= 27009 for node in triad.nodes)
        with Client(servers="@127.0.0.1,@127.0.0.2,@127.0.0.3") as client, client.checkout("X"):
            assert triad.usage()["features"][0]["in_use"] == 1


def test_the_license_of_a_triad_by_arguments_starts_another(tmp_path: Path) -> None:
    """Design page "api": write_license; the file has no problem, and the same triad behind it."""
    with FakeTriad(features={"X": 3, "Y": 1}, primary_is_master=False) as triad:
        file = triad.write_license(tmp_path / "license.dat")
        read = read_license_file(file)
        assert [(server.host, server.port) for server in read.servers] == [(node.host, node.port) for node in triad.nodes]
    assert (read.errors, read.primary_is_master) == ((), False)
    assert [(line.name, line.count, bool(line.sign)) for line in read.features] == [("X", 3, True), ("Y", 1, True)]
    with FakeTriad(license_file=file, start=["primary"]) as again:
        assert again.servername == triad.servername


@needs_three_addresses
@pytest.mark.slow
def test_three_nodes_that_were_started_one_by_one_find_each_other(tmp_path: Path) -> None:
    """T12, T13: ``python -m fakeserver --license FILE --node ROLE``, and no port in the file."""
    lines = "".join(f"SERVER {host} {hostid}\n" for host, hostid in EVERYWHERE)
    file = written(tmp_path, f"{lines}VENDOR palisade\nFEATURE X palisade 1.0 permanent 1\n")
    with ExitStack() as stack:
        for role in ("primary", "secondary", "tertiary"):
            command = [sys.executable, "-m", "fakeserver", "--license", str(file), "--node", role, "--state-dir", str(tmp_path / role)]
            node = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(node.terminate)
            assert node.stdout is not None
            assert node.stdout.readline().startswith(f"{role} 2700")
        with Client(servers="@127.0.0.1,@127.0.0.2,@127.0.0.3", timeout=20) as client, client.checkout("X"):
            deadline = time.monotonic() + 10
            while sum(node.state in {"MASTER", "master", "standby"} for node in client.status().nodes) < 3:
                assert time.monotonic() < deadline, client.status()


# --- the options file ---------------------------------------------------------------------------------------------------------------


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
