"""The rules of the house that import-linter cannot hold: what may be touched where, how large a thing may grow, what importing costs.

Who may import whom stands in pyproject.toml; here the sources are read as syntax trees.  Modules are found by looking, so a new one is held to
the rules from its first day.  Every table of exceptions gives its reasons.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import palclient

ROOT = Path(__file__).resolve().parents[1]

MODULE_LINES = 400
FUNCTION_LINES = 50

PURE = frozenset(
    "__future__ abc base64 binascii bisect codecs collections contextlib copy dataclasses datetime enum fractions functools hashlib heapq hmac "
    "ipaddress itertools json math numbers operator re string struct textwrap types typing unicodedata urllib".split()
)
"""Top-level modules of the standard library that touch no socket, file, clock, thread, luck or log."""

PURE_LOANS = {"palclient.core.retry": "tenacity", "fakeserver.licenses": "cryptography"}
"""Pure parts of third-party packages that one module each may import inside a function: wait strategies; checking a signature."""

CLOCK_READS = frozenset({"now", "utcnow", "today"})
"""The only impure corners of PURE: the class methods of datetime that read the clock."""

WORLD = frozenset(
    "_thread asyncio concurrent ctypes fcntl mmap multiprocessing queue random sched secrets select selectors signal socket socketserver ssl "
    "subprocess threading time".split()
)
"""Modules that reach sockets, threads, loops, processes, the clock or luck."""

SHELL = frozenset({"palclient.transport", "palclient.runner_sync", "palclient.runner_async", "palclient.keeper", "palclient.redirect.crew"})
"""The modules of the SDK that act; all others decide, read text, or hand on."""

LENT: dict[str, dict[str, frozenset[str]]] = {
    "palclient.files": {
        "time": frozenset({"sleep"}),  # a file that another program holds open is tried again a little later
        "ctypes": frozenset({"CDLL", "WinDLL", "WinError", "c_int", "c_uint32", "c_void_p", "c_wchar_p", "get_errno", "get_last_error"}),
    },
    "palclient.servername": {"socket": frozenset({"AF_INET6", "inet_pton"})},  # reading an address, which asks nobody
    "palclient.lifetime": {"threading": frozenset({"Lock"})},  # the one lock that a forked child finds free
    "palclient.signals": {
        "signal": frozenset({"SIG_DFL", "SIG_IGN", "getsignal", "pthread_kill", "raise_signal", "signal"}),
        "threading": frozenset({"Event", "Thread", "current_thread", "main_thread"}),  # returning seats has a thread of its own
    },
    "palclient.session": {
        "threading": frozenset({"Condition", "Lock"}),  # a process's knowledge is replaced under a lock, and whoever waits for a lease is woken
        "socket": frozenset({"gethostname"}),  # how the server's usage report shows this machine
    },
}
"""What a module outside the shell may take from WORLD, name by name."""

SERVER_SHELL = frozenset(
    "fakeserver" + name
    for name in [
        "",
        *".__main__ .clock .cluster .conductor .connection .control .cradle .disk .door .ghosts .hosting .house .inside .journal .lifeline .links .listening .nodes .nursery .orders .process".split(),
        *".plan .pytest_plugin .run .sabotage .server".split(),
    ]
)
"""The modules of the fake server that act; all others are pure, as the core is."""

FORMATS = frozenset(
    f"palclient.{name}" for name in "caret signs servername ini licensefile optionsfile licensetext hostid serverlines featurelines".split()
)

STDLIB_ONLY = FORMATS | {f"palclient.{name}" for name in ("errors", "models", "files", "redirect")}
"""What the redirect tool is made of: it runs on machines that have Python and nothing else."""

ENUMS = frozenset({"Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"})
SHAPES = frozenset({"Protocol", "TypedDict", "NamedTuple", "Generic"})
"""Bases that are a way to write down a type."""

FOREIGN_BASES: dict[str, str] = {
    "BaseHTTPRequestHandler": "http.server makes each connection of such a class",
    "H11Protocol": "uvicorn makes each connection of such a class",
    "BaseTransport": "httpx takes a transport of this class only",
    "AsyncBaseTransport": "httpx takes a transport of this class only",
    "DefaultSelector": "asyncio's loops wait with whatever is a selector",
    "SelectorEventLoop": "a loop's clock is a method of its own",
    "Coroutine": "asyncio.create_task takes, to a type checker, nothing else",
}
"""Bases that a library asks us to derive from, and why."""

LOOSE_DATACLASSES: dict[str, str] = {
    "palclient.core.checkout.Trace": "is filled in while a checkout runs, and read when it was broken off",
    "palclient.core.locate._Node": "the notes of one pursuit on one node, which that pursuit alone rewrites",
}
"""Dataclasses that are not frozen, slotted and keyword-only (``module.Class``), and why."""


# ------------------------------------------------------------------------------------------------------ reading sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A source file: its dotted name, its text and its syntax tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    def at(self, node: ast.AST, what: str) -> str:
        """``what`` with the place where it stands, as an editor understands it."""
        return f"{self.path.relative_to(ROOT).as_posix()}:{getattr(node, 'lineno', 1)} {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module; ``names`` is what is taken from it (empty: the module itself)."""

    node: ast.stmt
    module: str
    names: tuple[str, ...]
    in_function: bool

    @property
    def top(self) -> str:
        """The package that an installer knows."""
        return self.module.partition(".")[0]


@cache
def modules(package: str) -> tuple[Module, ...]:
    """All modules of ``package`` that there are."""
    return tuple(_read(path) for path in sorted((ROOT / package).rglob("*.py")))


def _read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = path.read_text(encoding="utf-8")
    return Module(name=name, path=path, text=text, tree=ast.parse(text, filename=str(path)))


def everything() -> tuple[Module, ...]:
    """The modules of both packages."""
    return modules("palclient") + modules("fakeserver")


def sdk() -> list[Module]:
    """palclient without its command line."""
    return [module for module in modules("palclient") if not within(module.name, "palclient.cli")]


def within(name: str, package: str) -> bool:
    """Whether ``name`` is ``package`` or lies in it."""
    return name == package or name.startswith(f"{package}.")


def imports(tree: ast.AST, *, in_function: bool = False) -> Iterator[Import]:
    """What is imported when the program runs: an ``if TYPE_CHECKING`` block is for readers of types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from imports(other, in_function=in_function)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node=node, module=alias.name, names=(), in_function=in_function)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node=node, module=node.module or "", names=tuple(alias.name for alias in node.names), in_function=in_function)
        else:
            yield from imports(node, in_function=in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def calls(module: Module) -> Iterator[ast.Call]:
    """Every call in ``module``."""
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def _name(node: ast.AST | None) -> str:
    """The last name of a dotted expression: ``x`` of ``x``, of ``a.b.x``, of ``a.x[T]`` and of ``a.x(...)``; empty when there is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.Call):
        return _name(node.func)
    return ""


def _dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _nobody(offences: list[str], rule: str) -> None:
    assert not offences, f"{rule}:\n  " + "\n  ".join(offences)


# ------------------------------------------------------------------------------------------------------ who touches what


def _impure(module: Module, own: tuple[str, ...]) -> Iterator[str]:
    """What keeps ``module`` from being pure.  It may import PURE and the modules that ``own`` names."""
    for found in imports(module.tree):
        targets = [f"{found.module}.{name}" for name in found.names] or [found.module]
        ours = all(any(within(target, package) for package in own) for target in targets)
        lent = found.in_function and PURE_LOANS.get(module.name) == found.top
        if found.top not in PURE and not ours and not lent:
            yield module.at(found.node, f"imports {found.module}")
    for call in calls(module):
        if _name(call.func) in CLOCK_READS and _name(getattr(call.func, "value", None)) in {"datetime", "date"}:
            yield module.at(call, f"reads the clock: {_dotted(call.func)}()")
        if _dotted(call.func) in {"open", "input", "print", "__import__"}:
            yield module.at(call, f"calls {_dotted(call.func)}()")


def test_the_core_decides_and_touches_nothing() -> None:
    """Design page "architecture", core: no socket, file, clock, thread, luck or log; tenacity only inside a function of retry.py."""
    own = ("palclient.errors", "palclient.models", "palclient.core")
    core = [module for module in modules("palclient") if within(module.name, "palclient.core")]
    _nobody([offence for module in core for offence in _impure(module, own)], "The core takes what it needs as arguments")


def test_the_nodes_of_the_fake_triad_decide_and_touch_nothing() -> None:
    """Design page "architecture", fakeserver: election, seats, policy and node are pure; so is all that is not named as its shell."""
    parts = [module for module in modules("fakeserver") if module.name not in SERVER_SHELL]
    formats = ("palclient.errors", "palclient.servername", "palclient.licensefile", "palclient.optionsfile")
    own = formats + tuple(module.name for module in parts)
    _nobody([offence for module in parts for offence in _impure(module, own)], "A node gets the time and the messages as arguments")


def test_only_the_runners_and_the_transport_act() -> None:
    """Design page "architecture", layout: sockets, threads, loops and the clock live in a few modules of the SDK."""
    offences = []
    for module in sdk():
        if any(within(module.name, part) for part in SHELL):
            continue
        lent = LENT.get(module.name, {})
        for found in imports(module.tree):
            taken = set(found.names) or _attributes_taken(module, found.module)
            if found.top in WORLD and not (found.module in lent and taken <= lent[found.module]):
                offences.append(module.at(found.node, f"takes {', '.join(sorted(taken)) or 'all'} from {found.module}"))
    _nobody(offences, f"Only {', '.join(sorted(SHELL))} reach the world")


def _attributes_taken(module: Module, name: str) -> set[str]:
    return {node.attr for node in ast.walk(module.tree) if isinstance(node, ast.Attribute) and _dotted(node.value) == name}


def test_the_formats_run_where_there_is_only_python() -> None:
    """Design page "servername", R9: what the redirect tool is made of imports the standard library and its own kind."""
    offences = [
        module.at(found.node, f"imports {found.module}")
        for module in modules("palclient")
        if module.name in STDLIB_ONLY or within(module.name, "palclient.redirect")
        for found in imports(module.tree)
        if found.top not in sys.stdlib_module_names and not _own_kind(found)
    ]
    _nobody(offences, "These import the standard library alone")


def _own_kind(found: Import) -> bool:
    targets = {f"{found.module}.{name}" for name in found.names} if found.module == "palclient" else {found.module}
    return all(target in STDLIB_ONLY or within(target, "palclient.redirect") for target in targets)


def test_only_the_command_line_prints() -> None:
    """Design page "architecture", layout: cli prints; nothing else prints."""
    offences = []
    for module in sdk():
        for node in ast.walk(module.tree):
            spoken = isinstance(node, ast.Call) and _dotted(node.func) in {"print", "pprint.pprint", "pprint", "logging.basicConfig"}
            stream = isinstance(node, ast.Attribute) and _dotted(node) in {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
            if spoken or stream:
                offences.append(module.at(node, f"uses {_dotted(node.func if isinstance(node, ast.Call) else node)}"))
    _nobody(offences, "The SDK logs, and raises")


def test_only_the_command_line_ends_the_process() -> None:
    """Design page "api": the process is never ended by the SDK."""
    endings = {"sys.exit", "os._exit", "os.abort", "exit", "quit", "SystemExit"}
    offences = [module.at(call, f"calls {_dotted(call.func)}()") for module in sdk() for call in calls(module) if _dotted(call.func) in endings]
    _nobody(offences, "An application ends when its author says so")


def test_lazy_imports_are_plain_statements() -> None:
    """Design page "architecture": programs that freeze an application see an ``import`` statement wherever it stands, but no computed name."""
    hidden = {"__import__", "import_module", "importlib.import_module", "importlib.__import__"}
    offences = [
        module.at(call, f"calls {_dotted(call.func)}()")
        for module in modules("palclient")
        if module.name != "palclient"  # see the next test
        for call in calls(module)
        if _dotted(call.func) in hidden
    ]
    _nobody(offences, "Write `import name` inside the function")


def test_each_home_of_a_public_name_is_also_imported_plainly() -> None:
    """Design page "architecture": palclient looks public names up by a table, and each of its modules stands in an ``import`` of the same file too."""
    for module in modules("palclient"):
        if module.name == "palclient":
            statements = {node.module for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom)}
            homes = {f"palclient.{name}" for name in palclient._HOMES}
            _nobody(sorted(homes - statements), "Imported by a computed name only")


def test_formats_and_core_catch_only_what_they_can_name() -> None:
    """Design page "architecture", budgets: no broad ``except`` there.  (Elsewhere ruff's BLE001 asks for a log line or a reason.)"""
    offences = []
    for module in modules("palclient"):
        if module.name not in FORMATS and not within(module.name, "palclient.core"):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler):
                caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                if any(kind is None or _name(kind) in {"Exception", "BaseException"} for kind in caught):
                    offences.append(module.at(node, "catches everything"))
    _nobody(offences, "Never catch what you cannot name")


# ------------------------------------------------------------------------------------------------------- shape and size


def test_a_module_is_read_in_one_sitting() -> None:
    """Design page "architecture", budgets: a module has at most 400 lines."""
    lengths = {module: len(module.text.splitlines()) for module in everything()}
    offences = [module.at(module.tree, f"has {length} lines") for module, length in lengths.items() if length > MODULE_LINES]
    _nobody(offences, f"A module has at most {MODULE_LINES} lines")


def test_a_function_is_one_screen() -> None:
    """Design page "architecture", budgets: a function has at most 50 lines, its docstring included."""
    offences = []
    for module in everything():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    offences.append(module.at(node, f"{node.name}() has {length} lines"))
    _nobody(offences, f"A function has at most {FUNCTION_LINES} lines")


def test_only_errors_and_enums_are_derived() -> None:
    """Design page "style", rule 7: inheritance for errors and enums only; types may be written down, and libraries have their say."""
    bases = {node.name: [_name(base) for base in node.bases] for _, node in _classes()}
    offences = [
        module.at(node, f"{node.name} derives from {base}")
        for module, node in _classes()
        for base in bases[node.name]
        if base not in SHAPES and base not in FOREIGN_BASES and not _is_error_or_enum(base, bases)
    ]
    _nobody(offences, "Compose instead")


def _classes() -> list[tuple[Module, ast.ClassDef]]:
    return [(module, node) for module in everything() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]


def _is_error_or_enum(name: str, bases: dict[str, list[str]]) -> bool:
    if name in bases:
        return bool(bases[name]) and all(_is_error_or_enum(base, bases) for base in bases[name])
    builtin = getattr(builtins, name, None)
    return name in ENUMS or (isinstance(builtin, type) and issubclass(builtin, BaseException))


def test_a_dataclass_is_a_value() -> None:
    """Design page "style", rule 3: frozen, slotted, keyword-only, unless listed here with a reason."""
    wanted = {"frozen", "slots", "kw_only"}
    loose: dict[str, str] = {}
    for module, node in _classes():
        for decorator in node.decorator_list:
            if _name(decorator) == "dataclass":
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                said = {word.arg for word in keywords if isinstance(word.value, ast.Constant) and word.value.value is True}
                if not wanted <= said:
                    loose[f"{module.name}.{node.name}"] = module.at(node, f"{node.name} lacks {', '.join(sorted(wanted - said))}")
    _nobody([place for name, place in loose.items() if name not in LOOSE_DATACLASSES], "A value does not change, and names its parts")
    _nobody(sorted(LOOSE_DATACLASSES.keys() - loose.keys()), "Listed as loose without need")


def test_nothing_is_lent_that_is_not_used() -> None:
    """Design page "style", rule 23: a permission that nobody uses is deleted."""
    used = {module.name: {found.module for found in imports(module.tree)} for module in sdk()}
    unused = [f"{name}: {lent}" for name, borrowed in LENT.items() for lent in borrowed if name in used and lent not in used[name]]
    _nobody(unused, "Lent without need")


# ---------------------------------------------------------------------------------------------------- what importing costs

IMPORT_AND_LOOK = """
import sys
root, site_packages = sys.argv[1:]
sys.path[:0] = [root]
sys.path.append(site_packages)
import _thread, json, os

def open_files():
    return {fd for fd in range(256) if is_open(fd)}

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

deeds = []
sys.addaudithook(lambda event, args: deeds.append(event) if event.startswith(("socket.", "subprocess.")) else None)
for name in ("start_new_thread", "start_new", "start_joinable_thread"):  # no audit event tells of these before Python 3.12
    setattr(_thread, name, lambda *args, **kwargs: deeds.append("a thread"))
modules, files = set(sys.modules), open_files()
from palclient import checkout
logging = sys.modules.get("logging")
loggers = [logging.root, *logging.root.manager.loggerDict.values()] if logging else []
report = {
    "callable": callable(checkout),
    "from": sys.modules["palclient"].__file__,
    "loaded": sorted(set(sys.modules) - modules),
    "files": sorted(open_files() - files),
    "deeds": deeds,
    "log_handlers": sum(len(getattr(logger, "handlers", ())) for logger in loggers),
}
print(json.dumps(report))
"""


def test_importing_costs_next_to_nothing() -> None:
    """Design page "architecture", budgets: no third-party module, nor ssl, asyncio, dataclasses, typing; no thread, file or log handler."""
    # -S: no .pth file of this environment may have loaded something before we look; -I: nor may its variables.
    command = [sys.executable, "-I", "-S", "-c", IMPORT_AND_LOOK, str(ROOT), sysconfig.get_path("purelib")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    report = json.loads(done.stdout)
    assert Path(report["from"]).parent == ROOT / "palclient"
    assert report["callable"]
    tops = {name.partition(".")[0] for name in report["loaded"]}
    assert {top for top in tops if top not in sys.stdlib_module_names} == {"palclient"}
    assert not tops & {"ssl", "asyncio", "dataclasses", "typing", "socket", "threading", "logging"}
    assert (report["files"], report["deeds"], report["log_handlers"]) == ([], [], 0)


# --------------------------------------------------------------------------------------------------------- the requirements


def _pins() -> dict[str, str]:
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.MULTILINE)}


def test_the_lock_fits_what_is_asked_for() -> None:
    """README, `make lock`: each dependency, of the project and of its development, is pinned within its range."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(entry for extra in project["optional-dependencies"].values() for entry in extra)]
    asked += [line for line in (ROOT / "requirements" / "dev.in").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pins = _pins()
    wrong = [
        str(need)
        for need in map(Requirement, asked)
        if canonicalize_name(need.name) not in pins or not need.specifier.contains(pins[canonicalize_name(need.name)])
    ]
    _nobody(wrong, "Run `make lock`: not pinned, or outside their range")


def test_the_lock_leaves_the_source_to_the_machine() -> None:
    """Issue "the main job": no registry is named; hashes say what may be installed, the machine's pip settings say from where."""
    offences = [
        f"{path.name}:{number} {line}"
        for path in sorted((ROOT / "requirements").iterdir())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if "://" in line or re.match(r"\s*(-i\b|--(extra-)?index|--find-links|--trusted-host)", line)
    ]
    _nobody(offences, "No address may stand here")


def test_no_pattern_has_a_possessive_group() -> None:
    """Python 3.11 to 3.14: up to 3.11.4 the re module keeps half of a possessive group that fails, so `a.` was read as `a`."""
    offences = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("palclient", "fakeserver")
        for path in sorted((ROOT / package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\)(?:[*+?]|\{[0-9,]+\})\+", line.partition("  #")[0]) and ("re." in line or 'r"' in line or "r'" in line)
    ]
    _nobody(offences, "No pattern has a possessive group")
