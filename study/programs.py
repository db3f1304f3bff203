"""How the programs that stand beside this Python are called from where the user stands."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def call(name: str) -> str:
    """Return the word that calls a program of this Python's environment, such as ``mlflow``.

    Its name alone where the shell finds it by that; its path otherwise, as after ``make demo``,
    which activates no environment.
    """
    own = Path(sys.executable).parent / name
    by_name = shutil.which(name)
    if not own.is_file() or (by_name is not None and Path(by_name).absolute() == own):
        return name
    here = Path.cwd()
    return shlex.quote(str(own.relative_to(here) if own.is_relative_to(here) else own))


def call_run() -> str:
    """Return the words that run a study, options to follow."""
    path = ROOT / "study" / "run.py"
    return f"{call('python')} {'study/run.py' if Path.cwd() == ROOT else shlex.quote(str(path))}"


def call_refocus() -> str:
    """Return the words that call the command ``refocus``, which a checkout need not have
    installed.
    """
    if (Path(sys.executable).parent / "refocus").is_file() or shutil.which("refocus"):
        return call("refocus")
    return f"{call('python')} -m study.cli"
