"""Builds the redirect tool as one file: ``python -I -S tools/pyz.py palclient-redirect.pyz`` (R9).

What goes in is found by importing: the command, the questions of ``--verify``, and whatever of palclient these import.  The interpreter is started without
site-packages, so a module that needs a third-party package ends the build.
"""

from __future__ import annotations

import sys
import tempfile
import zipapp
from pathlib import Path
from shutil import copy

ROOT = Path(__file__).resolve().parents[1]
DOOR = """\
import sys
if sys.version_info < (3, 11):
    sys.exit("This needs Python 3.11 or later; it was started with %d.%d." % sys.version_info[:2])
from palclient.cli.redirect import main
sys.exit(main())
"""


def files() -> list[Path]:
    """The source files that the tool is made of."""
    sys.path.insert(0, str(ROOT))
    import palclient.cli.redirect
    import palclient.cli.verify

    used = [module for name, module in sys.modules.items() if name.partition(".")[0] == palclient.__name__]
    return [Path(module.__file__) for module in used if module.__file__ is not None]


def build(target: Path) -> None:
    """Write ``target``."""
    with tempfile.TemporaryDirectory() as folder:
        for file in files():
            copy_to = Path(folder, file.relative_to(ROOT))
            copy_to.parent.mkdir(parents=True, exist_ok=True)
            copy(file, copy_to)
        Path(folder, "__main__.py").write_text(DOOR, encoding="utf-8")
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
