"""``palclient license``: lint, show, new; the signatures; the specimen in the docs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palclient import cli
from palclient.cli.license import read_date, read_expiry, signed_license
from palclient.errors import ConfigError
from palclient.licensefile import read_license_file
from palclient.signing import Signature, SigningKey, look_at_signature, new_key, read_key, write_key
from tests.unit.pages import REFERENCE, examples

NEW = [
    "--servers",
    "27000@lic1,27000@lic2,27000@lic3",
    "--hostids",
    "0A0027000001,0A0027000002,0A0027000003",
    "--feature",
    "RISK_IND80=5",
    "--expires",
    "2030-12-31",
    "--version",
    "8.0",
    "--primary-is-master",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, in which commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, data and talk of a command."""
    code = cli.main(["license", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("words", [["lint", ""], ["lint", "--options", ""], ["lint", "x", "--ini", ""], ["show", ""], ["new", "", *NEW]])
def test_a_name_that_is_empty_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """api, exit codes: an unset variable of a script must not pass for a file without problems."""
    with pytest.raises(SystemExit) as ended:
        run(capsys, *words)
    assert ended.value.code == 2
    assert "the name of the file is empty" in capsys.readouterr().err


@pytest.fixture
def license_dat(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A signed license for a triad, and its key pair beside it."""
    code, said, _ = run(capsys, "new", "license.dat", *NEW, "--key", "key.pem")
    assert code == 0
    assert "license.dat written, signed by " in said
    return folder / "license.dat"


# ------------------------------------------------------------------------------------------------------------------------- new


def test_a_new_license_is_read_without_a_problem_and_its_signature_fits(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 5: writes such a file for three host IDs and signs it."""
    license_file = read_license_file(license_dat)
    assert license_file.problems == ()
    assert (license_file.is_triad, license_file.primary_is_master) == (True, True)
    assert [(f.name, f.version, f.count, f.expiry) for f in license_file.features] == [("RISK_IND80", "8.0", 5, date(2030, 12, 31))]
    assert look_at_signature(license_file, license_file.features[0], by=read_key("key.pem").public) == Signature.FITS
    assert run(capsys, "lint", "license.dat", "--key", "key.pem", "--on", "2030-01-01") == (0, "no errors, no warnings.\n", "")


def test_the_key_pair_is_kept_for_its_owner_and_used_again(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 5: a key pair file is made and read with --key."""
    assert os.name == "nt" or Path("key.pem").stat().st_mode & 0o777 == 0o600
    assert run(capsys, "new", "other.dat", *NEW, "--key", "key.pem")[0] == 0
    assert Path("other.dat").read_text() == license_dat.read_text()  # Ed25519 draws no luck
    assert run(capsys, "new", "third.dat", *NEW)[0] == 0
    assert Path("third.dat").read_text() != license_dat.read_text()


def test_a_file_that_is_there_is_not_written_over(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A license may be the only copy."""
    before = license_dat.read_bytes()
    code, _, said = run(capsys, "new", "license.dat", *NEW)
    assert (code, license_dat.read_bytes()) == (2, before)
    assert said.startswith("license.dat: cannot be written: ")


@pytest.mark.parametrize(
    "changed, said",
    [
        (["--servers", "27000@lic1;27000@lic2"], "--servers, column 11: a semicolon stands between two servers."),
        (["--servers", "27000@lic1"], "--servers names 1 servers, --hostids 3 host IDs."),
        (["--hostids", "1,2,x:y"], "x:y is no host ID"),
        (["--feature", "A"], "The FEATURE line ends before its count."),
        (["--feature", "A=many"], "many is no number of licenses."),
        (["--heartbeat-interval", "121"], "HEARTBEAT_INTERVAL is 121, and 120 is the most."),
        (["--vendor", "a b"], "is no version"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(changed: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T10, T12: nothing is written, no key is made."""
    code, _, talk = run(capsys, "new", "license.dat", *NEW, *changed, "--key", "key.pem")
    assert code == 2
    assert said in talk
    assert not list(folder.iterdir())


def test_dates_are_taken_in_both_forms() -> None:
    """The license's own form, and the one that computers sort."""
    assert read_date("2030-12-31") == read_date("31-dec-2030") == read_date("31-DEC-2030") == date(2030, 12, 31)
    assert read_expiry("permanent") is None
    for text in ("", "x", "31-dec-", "31-foo-2030", "2030-02-31"):
        with pytest.raises(ValueError, match=r".*"):
            read_date(text)


WITHOUT_EXTRA = """
import sys
sys.modules["cryptography"] = None
from palclient.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_without_extra(*words: str) -> subprocess.CompletedProcess[str]:
    """A command where the extra is not installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, "license", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONPATH": ROOT},
    )


ROOT = str(Path(__file__).parents[2])


def test_without_the_extra_it_says_what_to_install(license_dat: Path) -> None:
    """Issue 5: extra signing.  R9: lint works with the standard library alone."""
    done = run_without_extra("new", "other.dat", *NEW)
    assert done.returncode == 2
    assert "pip install 'palclient[signing]'" in done.stderr
    assert not Path("other.dat").exists()
    done = run_without_extra("lint", str(license_dat), "--on", "2030-01-01")
    assert (done.returncode, done.stdout) == (0, "no errors, no warnings.\n")
    assert done.stderr == "Signatures were not checked. Install palclient with its extra: pip install 'palclient[signing]'\n"
    assert run_without_extra("lint", str(license_dat), "--key", "key.pem").returncode == 2


# ------------------------------------------------------------------------------------------------------------------------ lint


def test_an_altered_line_is_an_error(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T12: whose signature does not fit."""
    text = license_dat.read_text()
    for old, new in [(" 5 ", " 50 "), ("0A0027000002", "0A0027000009"), ("SIGN=ed25519:", "SIGN=ed25519:0")]:
        license_dat.write_text(text.replace(old, new))
        code, said, _ = run(capsys, "lint", "license.dat", "--on", "2030-01-01")
        assert code == 1
        assert said.startswith("license.dat, line 5, column 1: error: The signature of RISK_IND80 does not fit: ")
        assert said.endswith("1 error, no warnings.\n")


@pytest.mark.parametrize(
    "sign, said",
    [
        ("SIGN=0123456789AB", "is a vendor's own, which only the vendor can check."),
        ("", "RISK_IND80 has no signature."),
        (None, "fits, and is by another key."),
    ],
)
def test_a_key_asks_for_its_own_signature(sign: str | None, said: str, license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/reference/license-file.md, SIGN."""
    if sign is None:
        write_key("other.pem", new_key())
    else:
        license_dat.write_text(re.sub("SIGN=.*", sign, license_dat.read_text()))
        assert run(capsys, "lint", "license.dat", "--on", "2030-01-01")[0] == 0
    code, out, _ = run(capsys, "lint", "license.dat", "--on", "2030-01-01", "--key", "other.pem" if sign is None else "key.pem")
    assert code == 1
    assert said in out


@pytest.mark.parametrize("content", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nMC4\n-----END PRIVATE KEY-----\n"])
def test_a_key_file_that_has_no_key_is_named(content: bytes, license_dat: Path) -> None:
    """Issue 5: only the documented errors."""
    license_dat.with_name("bad.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.pem: is no private key"):
        read_key("bad.pem")
    with pytest.raises(ConfigError, match=r"nope\.pem: the key cannot be read"):
        read_key("nope.pem")
    with pytest.raises(ConfigError, match=r"bad\.pem: the key cannot be written"):
        write_key("bad.pem", new_key())


def test_a_key_of_another_kind_is_named(folder: Path) -> None:
    """Issue 5: Ed25519."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    (folder / "x.pem").write_bytes(X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="of another kind than Ed25519"):
        read_key("x.pem")


def test_an_ini_must_list_the_same_servers(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 6: given an INI, whether SERVERNAME lists the same hosts in the same order."""
    ini = license_dat.with_name("palclient.ini")
    ini.write_text("[License]\nSERVERNAME=27000@lic1,27000@lic2,27000@lic3\n")
    assert run(capsys, "lint", "license.dat", "--on", "2030-01-01", "--ini", "palclient.ini")[0] == 0
    ini.write_text("[License]\nSERVERNAME=27000@lic2,27000@lic1,27000@lic3\n")
    code, said, _ = run(capsys, "lint", "license.dat", "--on", "2030-01-01", "--ini", "palclient.ini")
    assert code == 1
    assert "license.dat, line 1, column 1: error: SERVERNAME lists the servers in another order than the SERVER lines." in said
    assert "(palclient.ini, line 2). Write: SERVERNAME=27000@lic1,27000@lic2,27000@lic3" in said


def test_options_are_checked_by_themselves_and_against_the_license(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 6: lint --options FILE."""
    license_dat.with_name("palisade.opt").write_text("RESERVE 6 RISK_IND80 USER ann\nMAX 1 RISK_IND80 ann\n")
    code, said, _ = run(capsys, "lint", "--options", "palisade.opt")
    assert (code, said.count("error: "), said.count("warning: ")) == (1, 1, 0)
    code, said, _ = run(capsys, "lint", "license.dat", "--options", "palisade.opt", "--on", "2030-01-01")
    assert (code, said.count("error: "), said.count("warning: ")) == (1, 1, 1)
    assert said.startswith("palisade.opt, line 1, column 1: warning: 6 seats of RISK_IND80 are reserved, and the license has 5.")


def test_expiry_is_looked_at_for_a_day(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 5: expired feature."""
    assert license_dat.exists()
    code, said, _ = run(capsys, "lint", "license.dat", "--on", "31-jan-2031")
    assert code == 0
    assert said.startswith("license.dat, line 5, column 1: warning: RISK_IND80 has expired on 2030-12-31.")
    license_dat.write_text(license_dat.read_text().replace("31-dec-2030", "31-dec-1999"))
    assert "RISK_IND80 has expired on 1999-12-31." in run(capsys, "lint", "license.dat")[1]


def test_lint_speaks_to_machines(license_dat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """api: --json everywhere."""
    license_dat.write_text("SERVER a ANY\nSERVER b ANY\n")
    code, said, _ = run(capsys, "lint", "license.dat", "--json")
    found = json.loads(said)
    assert (code, found["errors"], found["warnings"]) == (1, 2, 0)
    assert found["problems"][0].keys() == {"path", "line", "column", "severity", "message", "advice"}
    assert {(one["path"], one["line"]) for one in found["problems"]} == {("license.dat", 2)}


def test_lint_goes_through_each_line_from_left_to_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 6: what the file says, and what the day makes of it."""
    (folder / "one.dat").write_text("SERVER h ANY 1\nVENDOR v\nFEATURE f v 1.0 1-jan-2020 1 odd SIGN=1\n")
    cli.main(["license", "lint", "one.dat", "--json"])
    assert [problem["column"] for problem in json.loads(capsys.readouterr().out)["problems"]] == [1, 30]


def test_lint_must_know_what_to_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """api: 2 for wrong usage, and for a file that cannot be read."""
    assert not list(folder.iterdir())
    assert run(capsys, "lint") == (2, "", "Name a license file, or an options file with --options.\n")
    assert run(capsys, "lint", "--options", "x", "--ini", "y") == (2, "", "--ini and --key need a license file beside them.\n")
    assert run(capsys, "lint", "nope")[0] == 2
    with pytest.raises(SystemExit):
        run(capsys, "lint", "x", "--on", "tomorrow")


# ------------------------------------------------------------------------------------------------------------------------ show


SHOWN = """primary    lic1                         0A0027000001         port 27000
secondary  lic2                         0A0027000002         the first free port of 27000 to 27009
tertiary   lic3                         0A0027000003         port 27000
a master stays master; a server is lost after 39 s of silence
vendor     palisade, options p.opt, port 27010
feature    A                            version 8.0, 1 seat, until 2030-12-31
increment  B                            version 8.0, uncounted, permanent, bound to ANY
package    A                            X Y
"""
FILE = """SERVER lic1 0A0027000001 27000 HEARTBEAT_INTERVAL=10
SERVER lic2 0A0027000002
SERVER lic3 0A0027000003 27000
VENDOR palisade OPTIONS=p.opt PORT=27010
FEATURE A palisade 8.0 31-dec-2030 1 SIGN=123456789012
INCREMENT B palisade 8.0 permanent uncounted HOSTID=ANY SIGN=123456789012
PACKAGE A palisade COMPONENTS="X Y:1.0" SIGN=123456789012
"""


def test_no_file_moves_the_cursor_of_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever sent the file must not write on the screen."""
    (folder / "l.dat").write_text(FILE.replace("lic1", "lic\x1b[2J").replace(" A ", " A\x1b[2J ").replace("permanent", "perm\x1b"))
    for part in ("show", "lint"):
        _, said, talk = run(capsys, part, "l.dat")
        assert "\x1b" not in said + talk


def test_show_says_what_a_file_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 6: show."""
    (folder / "l.dat").write_text(FILE)
    assert run(capsys, "show", "l.dat") == (0, SHOWN, "no errors, 1 warning: palclient license lint l.dat\n")
    code, said, _ = run(capsys, "show", "l.dat", "--json")
    found = json.loads(said)
    assert code == 0
    assert [one["host"] for one in found["servers"]] == ["lic1", "lic2", "lic3"]
    assert [(one["name"], one["count"], one["expiry"]) for one in found["features"]] == [("A", 1, "2030-12-31"), ("B", None, None)]
    assert found["heartbeat_interval_s"] == 10


# ------------------------------------------------------------------------------------------------------------------------ docs


def test_the_page_of_commands_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/reference/cli.md: no option is missing, and none is there that does not exist."""
    section = (REFERENCE / "cli.md").read_text("utf-8").partition("\n## palclient license\n")[2].partition("\n## ")[0]
    offered = set()
    for part in ("lint", "show", "new"):
        with pytest.raises(SystemExit):
            run(capsys, part, "--help")
        offered |= set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert set(re.findall(r"`(--[a-z-]+)", section)) == offered


def test_lint_needs_the_standard_library_alone(license_dat: Path) -> None:
    """R9: on the machines of a fleet there is Python and nothing else."""
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from palclient.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-I", "-S", "-c", program, ROOT, "license", "lint", str(license_dat), "--on", "2030-01-01"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "no errors, no warnings.\n")


def test_the_specimen_of_the_page_is_what_new_writes() -> None:
    """Issue 5: a specimen stands in the docs.  Its key pair is made of the bytes 0 to 31, for this page alone."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    key = SigningKey(private=private, public=private.public_key().public_bytes_raw())
    specimen = examples("license-file.md", "license")[0]
    plain = specimen.partition(" \\\n")[0] + "\n"
    assert signed_license(plain, key) == specimen
