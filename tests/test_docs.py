"""The documentation is true: its Python runs, its links lead somewhere, its signatures and commands are those of the code.

A block of ``python`` is run as a program of its own (by pytest, if it holds tests), in a folder of its own, with a triad at hand for those that need
one.  A block of ``text`` right after it is what it must print.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import fakeserver
import palclient
from fakeserver import FakeTriad
from palclient import cli, models

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
API = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
RUN_LIMIT_S = 30.0

# What the README leaves to the reader.
PRELUDE = "import builtins\nbuiltins.run_the_application = lambda lease: lease.ensure_held()\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: where it stands, its kind, its text, and what the block of text after it says that it prints (None: nothing is said)."""

    place: str
    kind: str
    text: str
    prints: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    content = page.read_text(encoding="utf-8")
    fence = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n```text\n(?=(.*?)^```$))?", flags=re.MULTILINE | re.DOTALL)
    at = 0
    while found := fence.search(content, at):
        line = content.count("\n", 0, found.start()) + 1
        yield Block(place=f"{page.relative_to(ROOT).as_posix()}:{line}", kind=found[1], text=found[2], prints=found[3])
        at = found.start() + len(found[1]) + len(found[2]) + 7


def all_blocks(*kinds: str) -> list[Block]:
    """All blocks of these kinds."""
    return [block for page in PAGES for block in blocks(page) if block.kind in kinds]


PYTHON = all_blocks("python")


# ------------------------------------------------------------------------------------------------------------- programs


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """The servers that a program's INI file names."""
    with FakeTriad(features={"RISK_IND80": 5}) as triad:
        triad.wait_until_serving()
        yield triad


@pytest.mark.real
@pytest.mark.parametrize("block", PYTHON, ids=[block.place for block in PYTHON])
def test_the_examples_run(block: Block, triad: FakeTriad, tmp_path: Path) -> None:
    """Style 12: an example that runs, and prints what the page says."""
    is_test = "import pytest" in block.text
    program = tmp_path / ("test_example.py" if is_test else "example.py")
    program.write_text(block.text if is_test else PRELUDE + block.text, encoding="utf-8")
    triad.write_ini(tmp_path / "palclient.ini")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PALCLIENT_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # an example needs none of ours, and loading them takes seconds
    how = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)] if is_test else ["-W", "error"]
    done = subprocess.run(
        [sys.executable, *how, program.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    if block.prints is not None:
        assert done.stdout == block.prints


def test_there_are_examples() -> None:
    """A search that finds nothing would prove nothing."""
    places = {block.place.partition(":")[0] for block in PYTHON}
    assert {"README.md", "docs/tutorial.md", "docs/reference/api.md"} <= places
    assert sum(block.prints is not None for block in PYTHON) >= 2


# ---------------------------------------------------------------------------------------------------------------- links


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file or a folder of the repository, every anchor one of its headings."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or not path.is_relative_to(ROOT) or (anchor and anchor not in slugs(path)):
            broken.append(target)
    assert not broken


# ------------------------------------------------------------------------------------------------------------- commands


def test_the_commands_that_are_shown_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """README, tutorial: targets of the Makefile, and commands of palclient."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    shown = "\n".join(block.text for block in all_blocks("sh", "bat", "console"))
    assert {"demo", "test"} <= set(re.findall(r"^make ([a-z-]+)", shown, flags=re.MULTILINE)) <= targets
    commands = {command.__name__.rpartition(".")[2] for command in cli.commands()}
    assert set(re.findall(r"\bpalclient ([a-z]+)\b", shown)) <= commands
    rows = re.findall(r"^\| `palclient ([a-z]+) ?([^`]*)`", API, flags=re.MULTILINE)
    assert {command for command, _ in rows} == commands
    for command, options in rows:
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
        assert offered == set(re.findall(r"--[a-z-]+", options))


# -------------------------------------------------------------------------------------------------------------- modules


@pytest.mark.parametrize("package", ["palclient", "fakeserver"])
def test_every_module_has_its_line(package: str) -> None:
    """explanation/design.md: a module is listed by its file, or by the folder that is one thing to a reader."""
    design = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    section = design.partition(f"\n## {package}\n")[2].partition("\n## ")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    files = {path.relative_to(ROOT / package).as_posix() for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"}
    assert {file for file in files if file not in listed and f"{file.partition('/')[0]}/" not in listed} == set()
    assert {name for name in listed if not (ROOT / package / name).exists()} == set()


# ----------------------------------------------------------------------------------------------------------- signatures


METHODS_ON_THE_PAGE = (palclient.Client, palclient.Lease, palclient.AsyncClient, palclient.AsyncLease)  # with their arguments


def _written(text: str) -> list[tuple[str, Any]]:
    """Names and defaults of the parameters of a signature on the page."""
    function = ast.parse(f"def _{text.partition(' ->')[0]}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    positional = [None] * (len(arguments.args) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = zip([*arguments.args, *arguments.kwonlyargs], [*positional, *arguments.kw_defaults], strict=True)
    names = vars(fakeserver) | {"RetryPolicy": palclient.RetryPolicy}
    return [(argument.arg, "required" if default is None else eval(ast.unparse(default), dict(names))) for argument, default in pairs]  # noqa: S307  # our own page


def _actual(function: Any) -> list[tuple[str, Any]]:
    parameters = [parameter for parameter in inspect.signature(function).parameters.values() if parameter.name != "self"]
    return [(parameter.name, "required" if parameter.default is inspect.Parameter.empty else parameter.default) for parameter in parameters]


SIGNATURES = [
    (re.sub(r"\s+", " ", text.removesuffix("\n")), owner)
    for text in re.findall(r"^```text\n(\w+\(.*?)^```$", API, flags=re.MULTILINE | re.DOTALL)
    for owner in [palclient if hasattr(palclient, text.partition("(")[0]) else fakeserver]
]


@pytest.mark.parametrize("text, owner", SIGNATURES, ids=[text.partition("(")[0] for text, _ in SIGNATURES])
def test_the_signatures_are_those_of_the_code(text: str, owner: Any) -> None:
    """api.md: checkout, Client, FakeTriad."""
    assert _written(text) == _actual(getattr(owner, text.partition("(")[0]))


@pytest.mark.parametrize("owner", [*METHODS_ON_THE_PAGE, fakeserver.FakeTriad, fakeserver.FakeNode])
def test_every_member_is_on_the_page(owner: type) -> None:
    """api.md: what is public in a class is described, with the arguments that it takes."""
    section = API.partition("\n## The fake triad")[2 if owner.__module__.startswith("fakeserver") else 0]
    for name, member in vars(owner).items():
        if name.startswith("_"):
            continue
        described = re.search(rf"`{name}(?:\(([^`]*)\))?`|\b{name}=", section)
        assert described, f"{owner.__name__}.{name}"
        if inspect.isfunction(member) and owner in METHODS_ON_THE_PAGE:
            assert _written(f"{name}({described[1] or ''})") == _actual(member), f"{owner.__name__}.{name}"


def test_every_public_name_is_on_the_page() -> None:
    """api.md: what `from palclient import` offers."""
    missing = [name for name in palclient.__all__ if not name.startswith("__") and not re.search(rf"(`|^ *|^## ){name}\b", API, flags=re.MULTILINE)]
    assert not missing
    assert not [name for name in fakeserver.__all__ if not re.search(rf"`{name}\b", API) and name not in {"Entry", "Journal"}]


def test_the_members_of_values_and_events_are_on_the_page() -> None:
    """api.md, Events and Values."""
    for event in get_args(models.Event):
        fields = ", ".join(field.name for field in dataclasses.fields(event))
        assert f"| `{event.__name__}({fields})` |" in API
    for value in (models.Endpoint, models.Grant, models.TriadStatus, models.NodeStatus, models.FeatureUsage, models.Holder, models.Probe):
        row = re.search(rf"^\| `{value.__name__}` \| (.*) \|$", API, flags=re.MULTILINE)
        assert row, value
        assert {field.name for field in dataclasses.fields(value)} <= set(re.findall(r"`(\w+)`", row[1])), value
    for state in models.LeaseState:
        assert f"| `{state.name}` |" in API


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    """api.md, Errors: every class stands under its base."""
    tree = re.search(r"^```text\n(PalError.*?)^```$", API, flags=re.MULTILINE | re.DOTALL)
    assert tree
    path: list[str] = []
    seen = set()
    for line in tree[1].splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0].partition("(")[0]
        path[depth:] = [name]
        bases = {base.__name__ for base in getattr(palclient, name).__mro__}
        assert set(path) <= bases
        seen.add(name)
    errors = {name for name in palclient.__all__ if isinstance(getattr(palclient, name), type) and issubclass(getattr(palclient, name), Exception)}
    assert seen == errors
