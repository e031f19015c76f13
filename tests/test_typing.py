"""What type checkers make of palclient in a user's hands."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "tests" / "typed" / "application.py"
LIMIT_S = 120.0

WRONG = """
from palclient import checkout, Client
with checkout("X", wait="long") as lease:
    lease.valid = True
Client(timeout="1")
"""


def verdict(checker: list[str], program: Path) -> tuple[int, str]:
    """The exit code and the words of a type checker, run where a user would."""
    done = subprocess.run(
        [sys.executable, "-m", *checker, str(program)], cwd=program.parent, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


MYPY = ["mypy", "--strict", "--no-incremental", "--config-file="]
PYRIGHT = ["pyright", "--pythonpath", sys.executable]
CHECKERS = [
    pytest.param(MYPY, id="mypy"),
    pytest.param(
        PYRIGHT,
        id="pyright",
        marks=pytest.mark.skipif(
            shutil.which("node") is None or importlib.util.find_spec("pyright") is None,
            reason="pyright is a program for Node.js, and there is none here",
        ),
    ),
]


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_program_type_checks_strictly(checker: list[str], tmp_path: Path) -> None:
    """Issue "the client in full": mypy --strict and pyright on a user's file; and they see what is wrong in another."""
    program = tmp_path / "application.py"
    program.write_text("# pyright: strict\n" + PROGRAM.read_text("utf-8"), "utf-8")
    code, words = verdict(checker, program)
    assert code == 0, words
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG, "utf-8")
    code, words = verdict(checker, wrong)
    assert code == 1
    assert words.count("error") >= 3
