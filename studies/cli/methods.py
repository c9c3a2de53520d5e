"""``peftnas methods``: what can be attached, as the method classes themselves say it."""

from __future__ import annotations

import argparse
from typing import Any

from peftnas.search.errors import UsageError
from peftnas.spaces.nearest import nearest
from peftnas.studies.cli import options, output
from peftnas.studies.method_listing import LEGEND, condition, listing, presets_listing


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``methods``."""
    command = options.add_command(
        commands,
        "methods",
        "list the methods: fields, ranges, defaults, how the parameters are counted, source",
        "peftnas methods\npeftnas methods lora",
    )
    command.add_argument(
        "kind", metavar="KIND", nargs="*", help="only these, such as lora or LoRA"
    )
    command.add_argument(
        "--markdown",
        action="store_true",
        help="print docs/methods.md: all methods, and what attaching them shows",
    )
    options.add_json(command)
    command.set_defaults(act=show_methods)


def show_methods(arguments: argparse.Namespace) -> int:
    """Print the methods, all or the named ones."""
    from peftnas.methods import METHODS

    if arguments.markdown:
        return _show_markdown(arguments)
    kinds = [_kind(given) for given in arguments.kind]
    chosen = [listing(METHODS[kind]) for kind in kinds or METHODS]
    if arguments.json:
        output.print_json(chosen)
        return 0
    for method in chosen:
        _print(method)
    output.console().print(LEGEND)
    if not kinds:
        names = ", ".join(preset["name"] for preset in presets_listing())
        output.console().print(
            output.hanging("", f"Published combinations, peftnas.methods.presets: {names}")
        )
    return 0


def _kind(given: str) -> str:
    """The kind that a kind, or the name of a class, stands for."""
    from peftnas.methods import METHODS

    by_name = {kind: kind for kind in METHODS} | {
        method.__name__.lower(): kind for kind, method in METHODS.items()
    }
    kind = by_name.get(given.lower())
    if kind is not None:
        return kind
    found = nearest(given, by_name)
    guess = "take one of these" if found is None else f"did you mean {by_name[found]!r}?"
    raise UsageError(f"method must be one of {', '.join(METHODS)}, got {given!r}; {guess}")


def _show_markdown(arguments: argparse.Namespace) -> int:
    if arguments.kind or arguments.json:
        raise UsageError("--markdown prints all methods as one text; leave out KIND and --json")
    from peftnas.studies.method_docs import markdown

    with output.stdout_for_json(True):
        text = markdown()
    print(text, end="")
    return 0


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
        if field["when"]:
            meaning += f" (only when {condition(field['when'])})"
        if field["by_layer"]:
            meaning += "; PerLayer, PerGroup"
        rows.append([field["name"], repr(field["default"]), meaning])
    if rows:
        output.print_table("", ["field", "default", "takes"], rows, numbers=0)
    else:
        console.print("  fields:     none\n")
