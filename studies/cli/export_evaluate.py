"""``peftnas export`` and ``evaluate``: take one trained point out of a study."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peftnas.search.errors import about
from peftnas.studies.cli import options, output
from peftnas.studies.export_lines import FORMATS

if TYPE_CHECKING:
    from peftnas.studies.restore import TrainedTrial


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``export`` and ``evaluate``."""
    export = options.add_command(
        commands,
        "export",
        "write one trial as a folder: modules, head, tokenizer, and the lines that load it",
        "peftnas export quickstart --trial 7 --to best/\n"
        "peftnas export quickstart --trial 7 --to best/ --format merged",
    )
    options.add_study(export)
    options.add_trial(export)
    export.add_argument("--to", metavar="DIR", required=True, help="new or empty folder")
    export.add_argument(
        "--format",
        choices=FORMATS,
        default="peftnas",
        help="peftnas (default): read by peftnas; peft: an adapter that HF peft loads; merged: "
        "a model that transformers alone loads",
    )
    export.set_defaults(act=export_trial)
    evaluate = options.add_command(
        commands,
        "evaluate",
        "score one trial on the test split; the study records that and when",
        "peftnas evaluate quickstart --trial 7",
    )
    options.add_study(evaluate)
    options.add_trial(evaluate)
    evaluate.set_defaults(act=evaluate_trial)


def export_trial(arguments: argparse.Namespace) -> int:
    """Export a finished trial and print how to load it."""
    from peftnas.studies import export

    folder = Path(arguments.to).expanduser()
    with output.stdout_for_json(arguments.json):
        export.check_target(folder)
        form = arguments.format
        with _trained(arguments, form) as (trained, opened):
            methods = opened.file.defining(trained.row.architecture or {"methods": []})
            lines = export.export(trained, opened.study.name, folder, methods, form)
    if arguments.json:
        done = {"folder": str(folder.absolute()), "format": form, "load": lines}
        output.print_json(done | {"note": trained.note})
    else:
        output.console().print(f"exported trial {arguments.trial} to {folder}; load it with\n")
        output.console().print(lines)
    return 0


def evaluate_trial(arguments: argparse.Namespace) -> int:
    """Score a finished trial on the test split, and record that."""
    from peftnas.studies.evaluate import evaluate, record_look

    with output.stdout_for_json(arguments.json):
        with _trained(arguments) as (trained, opened):
            study = opened.study
            with options.as_usage():
                test = study.task.test(opened.data, opened.file.base, study.seed)
            scores = evaluate(trained, test)
        record_look(opened.url, study.name, arguments.trial, scores)
    validation = trained.row.metrics
    if arguments.json:
        output.print_json(
            {
                "trial": arguments.trial,
                "test_rows": len(test),
                "test": scores,
                "validation": validation,
                "note": trained.note,
            }
        )
        return 0
    rows = [
        [name, *(output.number(one, whole=False) for one in (validation.get(name), value))]
        for name, value in scores.items()
    ]
    title = f"{study.name}, trial {arguments.trial}: {trained.row.words}; {len(test):,} test rows"
    output.print_table(title, ["metric", "validation", "test"], rows, numbers=2)
    output.console().print("recorded in the study: the test split was looked at")
    return 0


@contextmanager
def _trained(
    arguments: argparse.Namespace, form: str = "peftnas"
) -> Iterator[tuple[TrainedTrial, options.Opened]]:
    """The trial of ``--trial`` with its tensors; says so when it is trained again.

    ``form``: what it is to be exported as; one that cannot hold it is refused before that.
    """
    from peftnas.search.results import open_results
    from peftnas.search.trial.bench import Bench
    from peftnas.studies.export_check import check_form
    from peftnas.studies.restore import check_same_study, finished_trial, trained_trial

    opened = options.open_study(arguments)
    results = open_results(opened.url, opened.study.name)
    row = finished_trial(results, arguments.trial)
    with options.as_usage():
        backbone = options.find_backbone(opened)
        check_same_study(results, opened.study, backbone)
        with options.on_its_line(opened), about("task"):
            data = opened.study.task.open(opened.data, opened.file.base, opened.study.seed)
        bench = Bench(backbone, data, opened.study.task)
    check_form(row, bench, form)
    with trained_trial(results, arguments.trial, bench, opened.out) as trained:
        if trained.note:
            print(f"peftnas: {trained.note}", file=sys.stderr)
        yield trained, opened
