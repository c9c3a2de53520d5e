"""``peftnas methods``: what can be attached, as the method classes themselves say it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from peftnas.search.errors import UsageError
from peftnas.studies.cli import options, output

if TYPE_CHECKING:
    from peftnas.methods.base import Method

LEGEND = """\
A field takes a value, or a domain of values to search (Integer, Real, Choice,
Subset); where PerLayer, PerGroup is said, also a value or a domain a layer.
In the counts: L active layers, d width of the backbone, n_in and n_out of a
linear, kv_width of keys and values."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``methods``."""
    command = options.add_command(
        commands,
        "methods",
        "list the methods: fields, ranges, defaults, how the parameters are counted, source",
        "peftnas methods\npeftnas methods lora",
    )
    command.add_argument("kind", metavar="KIND", nargs="*", help="only these, such as lora")
    options.add_json(command)
    command.set_defaults(act=show_methods)


def show_methods(arguments: argparse.Namespace) -> int:
    """Print the methods, all or the named ones."""
    from peftnas.methods import METHODS

    unknown = [kind for kind in arguments.kind if kind not in METHODS]
    if unknown:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {unknown[0]!r}")
    chosen = [_facts(METHODS[kind]) for kind in arguments.kind or METHODS]
    if arguments.json:
        output.print_json(chosen)
        return 0
    for method in chosen:
        _print(method)
    output.console().print(LEGEND)
    return 0


def _facts(method: type[Method]) -> dict[str, Any]:
    from peftnas.spaces.fields import settings

    defaults = {field.name: field.default for field in dataclasses.fields(method)}
    return {
        "kind": method.kind,
        "name": method.__name__,
        "says": (method.__doc__ or "").strip().splitlines()[0],
        "formula": method.formula,
        "source": method.source,
        "fields": [
            {
                "name": name,
                "takes": declared.values.words,
                "default": defaults[name],
                "by_layer": declared.by_layer,
                "when": {field: list(values) for field, values in declared.when.items()},
                "help": declared.help,
            }
            for name, declared in settings(method).items()
        ],
    }


def _print(method: dict[str, Any]) -> None:
    console = output.console()
    console.print(f"{method['kind']}: {method['name']}(...)")
    for head, text in (
        ("", method["says"].replace("``", "")),
        ("parameters: ", method["formula"]),
        ("source:     ", method["source"]),
    ):
        console.print(output.hanging(f"  {head}", text))
    rows = []
    for field in method["fields"]:
        meaning = field["takes"] + (f": {field['help']}" if field["help"] else "")
        conditions = " and ".join(
            f"{name} is {' or '.join(map(str, values))}" for name, values in field["when"].items()
        )
        if conditions:
            meaning += f" (only when {conditions})"
        if field["by_layer"]:
            meaning += "; PerLayer, PerGroup"
        rows.append([field["name"], repr(field["default"]), meaning])
    if rows:
        output.print_table("", ["field", "default", "takes"], rows, numbers=0)
    else:
        console.print("  fields:     none\n")
