"""What a node of the fake triad asks of a license file: T11, T12."""

from __future__ import annotations

import itertools
import sys

import pytest

from fakeserver.licenses import BAD_FILE, BAD_SIGNATURE, MISMATCH_LINES, WRONG_HOST, altered_lines, objection, serving_order
from palclient.cli.license import signed_license
from palclient.licensefile import LicenseFile, read_license_file
from palclient.signing import Signature, look_at_signature, new_key

PLAIN = """SERVER lic1 0A0027000001 27000 PRIMARY_IS_MASTER
SERVER lic2 0A0027000002 27000
SERVER lic3 0A0027000003 27000
VENDOR palisade
FEATURE RISK_IND80 palisade 8.0 31-dec-2030 5
INCREMENT RISK_IND80 palisade 8.0 permanent 2
"""
SIGNED = signed_license(PLAIN, new_key())


def read(text: str) -> LicenseFile:
    """The license file with this text."""
    return read_license_file(text.encode())


def code(text: str, *own: str) -> int | None:
    """With which number a node refuses to start."""
    found = objection(read(text), own or ("0A0027000002",))
    return found.code if found else None


def test_a_node_starts_with_a_file_that_is_for_it_and_was_not_touched() -> None:
    """T12."""
    for own in ("0A0027000001", "0a0027000003"):
        assert code(SIGNED, own) is None
    assert code(SIGNED.replace("0A0027000002", "ANY"), "anything") == BAD_SIGNATURE
    assert code(PLAIN.replace("0A0027000002", "ANY"), "anything") is None


def test_a_node_refuses_a_file_for_other_machines() -> None:
    """T12: -9."""
    assert code(SIGNED, "0A0027000004") == WRONG_HOST
    assert code("FEATURE A palisade 8.0 permanent uncounted HOSTID=ANY SIGN=1\n") == WRONG_HOST
    found = objection(read(SIGNED), ["b", "a"])
    assert str(found) == "license file, line 1: No SERVER line has the host ID of this machine, a or b. (-9)"


@pytest.mark.parametrize(
    "old, new",
    [
        (" 5 ", " 6 "),
        ("2030", "2031"),
        ("RISK_IND80", "RISK_IND81"),
        ("8.0 perm", "9.0 perm"),
        ("0A0027000001", "0A0027000009"),
        ("SIGN=ed25519:", "SIGN=ed25519:0"),
        ("SIGN=ed25519", "SIGN=ed25518"),
        ("SIGN=", "SING="),
        ("INCREMENT", "FEATURE"),
    ],
)
def test_a_node_refuses_an_altered_line(old: str, new: str) -> None:
    """T12: -8."""
    assert code(SIGNED.replace(old, new, 1)) == BAD_SIGNATURE


def test_any_digit_of_a_signature_counts() -> None:
    """T12: -8."""
    at = SIGNED.index("SIGN=ed25519:") + len("SIGN=ed25519:")
    for offset in [*range(0, 64, 7), *range(65, 193, 9), 192]:
        digit = "0" if SIGNED[at + offset] != "0" else "1"
        assert code(f"{SIGNED[: at + offset]}{digit}{SIGNED[at + offset + 1 :]}") == BAD_SIGNATURE


@pytest.mark.parametrize(
    "old, new",
    [("lic1", "elsewhere"), (" 27000", " 28000"), (" PRIMARY_IS_MASTER", ""), ("VENDOR palisade", "vendor palisade /opt/p"), (" \\\n ", "")],
)
def test_an_administrator_may_change_what_is_not_signed(old: str, new: str) -> None:
    """docs/reference/license-file.md, SIGN."""
    assert old in SIGNED
    assert code(SIGNED.replace(old, new)) is None


def test_the_order_of_the_server_lines_is_not_signed() -> None:
    """T11, T12: files that differ in their order are for the node to see, and no alteration."""
    lines = SIGNED.replace(" PRIMARY_IS_MASTER", "").splitlines(keepends=True)
    for order in itertools.permutations(lines[:3]):
        assert code("".join([*order, *lines[3:]])) is None


@pytest.mark.parametrize(
    "old, new, line",
    [
        ("SERVER lic3 0A0027000003 27000\n", "", 2),
        ("VENDOR", "SERVER lic4 ANY 27000\nVENDOR", 4),
        ("27000 PRIMARY_IS_MASTER", "PRIMARY_IS_MASTER 27000", 1),
        ("lic2 0A0027000002 27000", "lic2 0A0027000002 27000 PRIMARY_IS_MASTER", 2),
        ("PRIMARY_IS_MASTER", "HEARTBEAT_INTERVAL=121", 1),
    ],
)
def test_a_node_refuses_server_lines_that_make_no_triad(old: str, new: str, line: int) -> None:
    """T10, T12: two or more than three SERVER lines; the keyword before the port, or on a later line."""
    found = objection(read(SIGNED.replace(old, new)), ["0A0027000002"])
    assert found is not None
    assert (found.code, found.line, found.path) == (BAD_FILE, line, None)


def test_a_line_that_licenses_nothing_keeps_no_node_from_starting() -> None:
    """T12 names what does."""
    assert code(f"{SIGNED}FEATURE B palisade x permanent 5 SIGN=1\nPAKAGE\n") is None


def test_a_vendors_own_signatures_are_passed_by() -> None:
    """docs/reference/license-file.md, SIGN: only the vendor can check them."""
    assert code(PLAIN.replace("permanent 2", "permanent 2 SIGN=0123456789AB")) is None
    assert (
        code(SIGNED.replace(SIGNED[SIGNED.index("SIGN=") : SIGNED.index("\nINCR")], "SIGN=0123456789AB")) == BAD_SIGNATURE
    )  # the other line has one of ours


def test_without_the_extra_no_signature_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra ``signing``."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    assert altered_lines(read(SIGNED.replace(" 5 ", " 6 "))) == []


@pytest.mark.parametrize(
    "old, new", [("", ""), (" 5 ", " 6 "), ("0A0027000001", "1"), ("SIGN=ed25519:", "SIGN=ed25519:0"), ("permanent", "1-jan-2040")]
)
def test_both_readings_of_a_signature_are_of_one_opinion(old: str, new: str) -> None:
    """What signs and what checks must not share a mistake, and must agree."""
    license_file = read(SIGNED.replace(old, new))
    looked = [line for line in license_file.features if look_at_signature(license_file, line) != Signature.FITS]
    assert looked == altered_lines(license_file)


# ----------------------------------------------------------------------------------------------------------------- T11


def orders() -> list[LicenseFile]:
    """The same triad in every order of its lines."""
    lines = ["SERVER Beta ANY 1\n", "SERVER alpha ANY 2\n", "SERVER gamma ANY 3\n"]
    return [read("".join(order)) for order in itertools.permutations(lines)]


def test_files_that_agree_keep_their_order() -> None:
    """T11."""
    for one in orders():
        assert serving_order([one, one, one]) == (one.servers, True)


def test_files_that_do_not_agree_fall_back_to_the_alphabetical_order() -> None:
    """T11: whichever file is one's own, the order is the same, and the port goes with its host."""
    for here, there in itertools.permutations(orders(), 2):
        servers, agree = serving_order([here, here, there])
        assert not agree
        assert [(server.host, server.port) for server in servers] == [("alpha", 2), ("Beta", 1), ("gamma", 3)]
    assert MISMATCH_LINES == ("License File SERVER line order mismatch.", "Using alphabetical order")


def test_nodes_of_one_machine_are_told_apart_by_their_ports() -> None:
    """T11 on the loopback interface."""
    here, there = (read("".join(f"SERVER 127.0.0.1 ANY {port}\n" for port in ports)) for ports in ((3, 1, 2), (1, 2, 3)))
    servers, agree = serving_order([here, there])
    assert ([server.port for server in servers], agree) == ([1, 2, 3], False)
