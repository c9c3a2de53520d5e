"""``peftnas run``: search, or go on with a search."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from peftnas.search.errors import UsageError
from peftnas.studies.cli import options, output
from peftnas.studies.cli.status_front_report import print_front
from peftnas.studies.errors import WorkFailedError

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy
    from peftnas.search.run_summary import RunSummary

EXAMPLE = """\
peftnas run quickstart --trials 12
peftnas run my_study.py --data data/ --minutes 30 --set recipe.steps=200"""
# written out, since Optuna takes a second to load and --help should not wait for it
SAMPLERS = (
    "tpe",
    "nsga2",
    "nsga3",
    "gp",
    "qmc",
    "evolution",
    "surrogate",
    "random",
    "bruteforce",
)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``run``."""
    command = options.add_command(
        commands, "run", "search until N trials are finished; again: go on with the same", EXAMPLE
    )
    options.add_study(command)
    command.add_argument(
        "--trials",
        metavar="N",
        type=options.whole(1),
        help="go on until the study has N finished trials, those of earlier runs counted "
        "(default: 50, or no limit with --minutes)",
    )
    command.add_argument(
        "--minutes",
        metavar="M",
        type=options.minutes,
        help="start no trial after M minutes of this run (default: no limit)",
    )
    command.add_argument(
        "--workers",
        metavar="W",
        type=_workers,
        default=_usable_cores(),
        help="processes that train, or auto: as many as the cluster has room for, more and fewer "
        "with it (default: one a usable core, here %(default)s)",
    )
    command.add_argument(
        "--sampler",
        metavar="NAME",
        default="tpe",
        help=f"what proposes the points: {', '.join(SAMPLERS)} (default: tpe)",
    )
    command.add_argument(
        "--address",
        metavar="ADDRESS",
        default="local",
        help="Ray cluster to join, or auto to find one (default: local, starts Ray here)",
    )
    command.add_argument(
        "--no-baselines",
        action="store_true",
        help="do not train the untuned baselines, to which the report compares the front",
    )
    _add_faults(command)
    command.set_defaults(act=run)


def _add_faults(command: argparse.ArgumentParser) -> None:
    """What ends a run, or a trial, when something goes wrong."""
    command.add_argument(
        "--max-failures",
        metavar="N",
        type=options.whole(0),
        help="end when more than N trainings have failed (default: 5 at first, or 20 in a row)",
    )
    command.add_argument(
        "--on-error",
        choices=("continue", "stop"),
        default="continue",
        help="what an exception in a training does to the run (default: continue)",
    )
    command.add_argument(
        "--step-timeout",
        metavar="SECONDS",
        type=float,
        help="silence after which a trial hangs and runs again elsewhere (default: 20 median "
        "steps, and at least a minute)",
    )
    command.add_argument(
        "--max-disk",
        metavar="SIZE",
        type=_bytes,
        help="start nothing new when checkpoints take more, such as 5GB (default: no limit)",
    )
    command.add_argument(
        "--check-backbone",
        action="store_true",
        help="look at the frozen weights after each trial: did anything write into them?",
    )


def _workers(text: str) -> int | None:
    """A whole number of at least 1, or ``auto``, as a type for argparse."""
    return None if text == "auto" else options.whole(1)(text)


def _bytes(text: str) -> int:
    """A size such as ``5GB``, as a type for argparse."""
    from peftnas.search.constraints import parse_constraint
    from peftnas.search.errors import UsageError

    try:
        return int(parse_constraint(f"stored_bytes <= {text}").bound)
    except UsageError as error:
        raise argparse.ArgumentTypeError(f"must be a size such as 5GB, got {text!r}") from error


def run(arguments: argparse.Namespace) -> int:
    """Run the study, write its report, print the front; 1 when the work failed."""
    from peftnas.search.report import write_report
    from peftnas.search.results import open_results

    with output.stdout_for_json(arguments.json):
        opened = options.open_study(arguments)
        summary = _search(arguments, opened)
        results = open_results(opened.url, opened.study.name)
        report = opened.out / "report.html"
        write_report(results, report)
    if arguments.json:
        front = [row.number for row in results.front()]
        output.print_json(summary.to_dict() | {"report": str(report), "front": front})
    else:
        _print(summary)
        print_front(results)
        output.console().print(f"report: {report}")
    return 0 if summary.ok else 1


def _search(arguments: argparse.Namespace, opened: options.Opened) -> RunSummary:
    from peftnas.search.runner import run_study

    with options.as_usage():
        backbone = options.find_backbone(opened)
    _check_space(opened, backbone.anatomy())
    study = replace(opened.study, backbone=backbone)
    try:
        with options.on_its_line(opened):
            return run_study(
                study,
                storage_url=opened.storage_url,
                out=opened.out,
                data=opened.data,
                base=opened.file.base,
                trials=arguments.trials,
                minutes=arguments.minutes,
                workers=arguments.workers,
                sampler=arguments.sampler,
                address=arguments.address,
                progress=True,
                baselines=not arguments.no_baselines,
                max_failures=arguments.max_failures,
                on_error=arguments.on_error,
                step_timeout_s=arguments.step_timeout,
                max_disk=arguments.max_disk,
                check_backbone=arguments.check_backbone,
                modules=(opened.file.module,) if opened.file.by_value else (),
            )
    except ConnectionError as error:
        raise UsageError(
            f"--address {arguments.address}: no Ray cluster answers there ({error}); "
            "correct it, or leave it out to start Ray here"
        ) from error
    except OSError as error:
        if opened.out.is_dir():
            raise
        raise UsageError(
            f"--out {opened.out} cannot be made: {error.strerror}; name another folder"
        ) from error
    except RuntimeError as error:
        from peftnas.search.cluster.pool import WorkerStartError

        if isinstance(error, WorkerStartError):
            raise WorkFailedError(str(error)) from error
        raise


def _check_space(opened: options.Opened, anatomy: Anatomy) -> None:
    """What the preflight would find too, said of the line of FILE that it is about.

    Raises:
        UsageError: if the backbone lacks what the space names, or nothing meets its constraints.
    """
    from peftnas.spaces.constraints import MaxTrainMemoryBytes

    space = opened.study.space
    with options.in_words_of(opened, anatomy):
        bound = space.bind(anatomy)
        # memory is predicted for the task's data, which are not open yet
        if not any(isinstance(one, MaxTrainMemoryBytes) for one in space.constraints):
            bound.check_feasible()


def _print(summary: RunSummary) -> None:
    console = output.console()
    console.print(summary.words())
    console.print(f"study {summary.name} in {summary.out}")


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
