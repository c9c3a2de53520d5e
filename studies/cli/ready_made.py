"""``peftnas studies`` and ``tasks``: what comes with the package besides methods."""

from __future__ import annotations

import argparse
import ast
import inspect
from pathlib import Path

from peftnas.studies.cli import options, output


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``studies`` and ``tasks``."""
    studies = options.add_command(
        commands,
        "studies",
        "list the ready-made studies, whose names stand for a FILE: the quickstart, and the "
        "spaces of papers on its backbone and task",
        "peftnas studies\npeftnas space s4",
    )
    options.add_json(studies)
    studies.set_defaults(act=show_studies)
    tasks = options.add_command(
        commands,
        "tasks",
        "list the tasks that a study can be about, with their arguments",
        "peftnas tasks",
    )
    options.add_json(tasks)
    tasks.set_defaults(act=show_tasks)


def show_studies(arguments: argparse.Namespace) -> int:
    """Print the names of the ready-made studies and what each says of itself."""
    from peftnas.studies.study_file import READY_MADE

    rows = [{"name": name, "says": _first_line(module)} for name, module in READY_MADE.items()]
    if arguments.json:
        output.print_json(rows)
        return 0
    output.print_table(
        "", ["study", "what"], [[row["name"], row["says"]] for row in rows], numbers=0
    )
    output.console().print("Sizes on the papers' backbones: docs/literature.md")
    return 0


def show_tasks(arguments: argparse.Namespace) -> int:
    """Print the tasks of ``peftnas.studies.tasks``."""
    from peftnas.studies import tasks

    # a task, or a function that makes one; tables, errors and metrics are neither
    made = {name: getattr(tasks, name) for name in tasks.__all__}
    found = {
        name: one for name, one in made.items() if inspect.isfunction(one) or hasattr(one, "score")
    }
    rows = [
        {
            "name": name,
            "arguments": list(inspect.signature(one).parameters),
            "says": (inspect.getdoc(one) or "").partition("\n")[0].replace("``", ""),
        }
        for name, one in sorted(found.items())
    ]
    if arguments.json:
        output.print_json(rows)
        return 0
    for row in rows:
        output.console().print(str(row["name"]))
        output.console().print(output.hanging("  ", str(row["says"])))
        output.console().print(output.hanging("  takes: ", ", ".join(row["arguments"])))
    output.console().print("from peftnas.studies.tasks import ...; docs/tasks.md says more")
    return 0


def _first_line(module: str) -> str:
    """The first line of a module's docstring; importing it would load torch."""
    package = Path(__file__).parents[1]
    path = package.joinpath(*module.split(".")[2:]).with_suffix(".py")
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.partition("\n")[0].rstrip(".")
