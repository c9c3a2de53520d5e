"""``peftnas stop`` and ``enqueue``: influence a study that may be running."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftnas.search.errors import UsageError
from peftnas.studies.cli import options, output

if TYPE_CHECKING:
    from peftnas.spaces.architecture import Architecture

Wished = list[tuple["Architecture", dict[str, Any]]]


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``stop`` and ``enqueue``."""
    stop = options.add_command(
        commands,
        "stop",
        "ask the process that runs a study to end: what trains is finished, nothing new starts",
        "peftnas stop quickstart\npeftnas stop my_study.py --now",
    )
    options.add_study(stop)
    stop.add_argument(
        "--now",
        action="store_true",
        help="hand back what trains instead of finishing it; the next run goes on with it",
    )
    stop.set_defaults(act=stop_run)
    enqueue = options.add_command(
        commands,
        "enqueue",
        "have chosen architectures trained next, by the run that goes on or by the next one",
        "peftnas enqueue my_study.py --architecture chosen.json learning_rate=0.003\n"
        "peftnas enqueue my_study.py --front-of other --from sqlite:///runs/other/study.db",
    )
    options.add_study(enqueue)
    enqueue.add_argument(
        "values",
        metavar="FIELD=VALUE",
        nargs="*",
        help="a value of the recipe where FILE searches one (default: the middle of its domain, "
        "or the recipe that the other study found)",
    )
    source = enqueue.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--architecture",
        metavar="JSON",
        help="file as Architecture.to_dict writes it, such as architecture.json of a checkpoint",
    )
    source.add_argument(
        "--front-of", metavar="NAME", help="every architecture on the front of this study"
    )
    enqueue.add_argument(
        "--from",
        dest="other",
        metavar="URL",
        help="storage of that study (default: sqlite:///runs/NAME/study.db)",
    )
    enqueue.set_defaults(act=enqueue_trials)


def stop_run(arguments: argparse.Namespace) -> int:
    """Ask the running process to end."""
    from peftnas.search.storage import open_storage
    from peftnas.search.wishes import ask_to_stop

    opened = options.open_study(arguments)
    holder = ask_to_stop(open_storage(opened.url), opened.study.name, now=arguments.now)
    if arguments.json:
        output.print_json({"study": opened.study.name, "asked": holder, "now": arguments.now})
    else:
        ending = "hands back" if arguments.now else "finishes"
        output.console().print(f"{holder} was asked to stop: it {ending} what trains, then ends")
    return 0


def enqueue_trials(arguments: argparse.Namespace) -> int:
    """Write the trials that are to be trained next."""
    from dataclasses import replace

    from peftnas.search.enqueue import Wanted, in_study
    from peftnas.search.preflight import prepare

    opened = options.open_study(arguments)
    wished = _wished(arguments)
    given = dict(_value(text) for text in arguments.values)
    with options.as_usage():
        study = replace(opened.study, backbone=options.find_backbone(opened))
        prepared = prepare(study, data=opened.data, base=opened.file.base)
    wanted = Wanted(prepared)
    draws = [wanted.draw(one, recipe, given) for one, recipe in wished]
    records = in_study(prepared, opened.url)
    numbers = [wanted.enqueue(records, draw) for draw in draws]
    if arguments.json:
        output.print_json({"study": study.name, "trials": numbers})
    else:
        for number, draw in zip(numbers, draws, strict=True):
            output.console().print(f"trial {number}: {draw.architecture.words()}")
    return 0


def _wished(arguments: argparse.Namespace) -> Wished:
    """The architectures that the command names, with the recipes that they were found with."""
    from peftnas.search.results import open_results
    from peftnas.search.storage import sqlite_url
    from peftnas.spaces.architecture import Architecture

    if arguments.architecture is not None:
        if arguments.other is not None:
            raise UsageError("--from goes with --front-of; leave it out beside --architecture")
        file = Path(arguments.architecture).expanduser()
        try:
            return [(Architecture.from_dict(json.loads(file.read_text())), {})]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"--architecture must be a JSON file of an architecture, got {file}: {error}; "
                "take architecture.json of a checkpoint"
            ) from error
    name = arguments.front_of
    url = arguments.other or sqlite_url(Path("runs") / name)
    front = open_results(url, name).front()
    if not front:
        raise UsageError(f"study {name!r} has no front yet; run it first")
    return [(Architecture.from_dict(row.architecture or {}), row.recipe) for row in front]


def _value(text: str) -> tuple[str, Any]:
    """A field of the recipe and its value, as ``learning_rate=0.003`` names them."""
    name, is_there, value = text.partition("=")
    if not is_there:
        raise UsageError(f"a value must be FIELD=VALUE, got {text!r}; write learning_rate=0.003")
    try:
        return name.removeprefix("recipe."), json.loads(value)
    except json.JSONDecodeError:
        return name.removeprefix("recipe."), value
