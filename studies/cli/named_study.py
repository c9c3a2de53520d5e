"""Which study FILE is about, without running it: looking at a study needs its name alone.

Running FILE loads torch and transformers, some seconds in which nothing is shown.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from peftnas.studies.study_file import READY_MADE


@dataclass(frozen=True)
class Named:
    """A study by its name.

    Attributes:
        name: of the study.
        out: its folder.
        storage_url: the given one; ``None`` for ``study.db`` in ``out``.
    """

    name: str
    out: Path
    storage_url: str | None

    @property
    def url(self) -> str:
        """The storage's URL, given or not."""
        from peftnas.search.storage import sqlite_url

        return self.storage_url or sqlite_url(self.out)


def named_study(arguments: argparse.Namespace) -> Named | None:
    """The study that the arguments of a command name, as far as the text of FILE tells.

    ``None`` where FILE computes the name of its study, or cannot be read: then it has to be run.
    """
    name = _name_in(arguments.file)
    for change in arguments.changes:
        target, _, text = change.partition("=")
        if target.strip() == "name":
            name = text.strip()
    if not name:
        return None
    out = Path(arguments.out).expanduser() if arguments.out else Path("runs") / name
    return Named(name, out.absolute(), arguments.storage)


def _name_in(file: str) -> str | None:
    """The name of the one ``study = Study(name="...")`` at the top of FILE."""
    path = _text_of(file)
    if path is None or not path.is_file():
        return None
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return None
    bound = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "study" and isinstance(node.ctx, ast.Store)
    ]
    made = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and node.targets[0] in bound
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).rpartition(".")[2] == "Study"
    ]
    if len(bound) != 1 or len(made) != 1:
        return None
    given = [word.value for word in made[0].keywords if word.arg == "name"] or made[0].args[:1]
    match given:
        case [ast.Constant(value=str(name))]:
            return name
    return None


def _text_of(file: str) -> Path | None:
    """The Python file that FILE, or the word of a ready-made study, stands for."""
    if file not in READY_MADE:
        return Path(file).expanduser()
    spec = importlib.util.find_spec(READY_MADE[file])
    return None if spec is None or spec.origin is None else Path(spec.origin)
