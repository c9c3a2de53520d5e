"""``peftnas status``, ``front``, ``report``: look at a stored study, running or not."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftnas.search.constraints import parse_constraint
from peftnas.search.errors import UsageError
from peftnas.search.live import Costs, read_live, worker_words
from peftnas.search.objectives import COSTS, MEASURED
from peftnas.studies.cli import options, output
from peftnas.studies.cli.named_study import Named, named_study

if TYPE_CHECKING:
    from peftnas.search.objectives import Objective
    from peftnas.search.results import StudyResults, TrialRow


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``status``, ``front`` and ``report``."""
    status = options.add_command(
        commands,
        "status",
        "say how far a study is: trials by state, failures, baselines, best points",
        "peftnas status quickstart",
    )
    options.add_study(status)
    status.set_defaults(act=show_status)
    front = options.add_command(
        commands,
        "front",
        "print the Pareto front: trial, objectives, bounded costs, architecture",
        "peftnas front quickstart\npeftnas front my_study.py --costs",
    )
    options.add_study(front)
    front.add_argument(
        "--costs",
        action="store_true",
        help="a column for each cost that was measured, bounded or not; --json has all of them",
    )
    front.set_defaults(act=show_front)
    report = options.add_command(
        commands,
        "report",
        "write one HTML file that opens offline: front, curves, table, facts",
        "peftnas report quickstart --to report.html",
    )
    options.add_study(report)
    report.add_argument("--to", metavar="HTML", help="file to write (default: OUT/report.html)")
    report.set_defaults(act=write_report)


def show_status(arguments: argparse.Namespace) -> int:
    """Print how far the study is."""
    from peftnas.search.storage import shown

    results, opened = _results(arguments, whole=False)
    facts = {
        "study": results.name,
        "storage": shown(opened.url),
        "trials": results.counts(),
        "hypervolume": results.hypervolume_reached(),
        "front": [row.number for row in results.front()],
        "baselines": [_brief(row, results) for row in results.baselines],
        "failures": [
            {"trial": row.number, "reason": row.reason}
            for row in results.trials
            if row.state == "failed"
        ],
        "over": [
            {"trial": row.number, "limits": list(row.over)} for row in results.finished if row.over
        ],
        "test_looks": results.facts.get("test_looks", []),
        "live": read_live(Path(opened.out)),
    }
    if arguments.json:
        output.print_json(facts)
        return 0
    console = output.console()
    # a stopped run hands back what it had begun, and the next one goes on with it
    words = {"running": "begun and not finished", "stopped": "stopped early"}
    counts = ", ".join(
        f"{count} {words.get(state, state)}"
        for state, count in facts["trials"].items()
        if count or state not in ("stopped", "enqueued")
    )
    console.print(f"{results.name}: {counts}")
    points = output.several(len(facts["front"]), "point")
    console.print(f"front: {points}, hypervolume {facts['hypervolume']:.4f}")
    for row in results.baselines:
        cost = f" ({cost_words(row, results)})" if row.costs else ""
        console.print(f"baseline {row.baseline}: {_values(row, results) or row.reason}{cost}")
    for beyond in facts["over"]:
        console.print(f"trial {beyond['trial']} over a limit: {'; '.join(beyond['limits'])}")
    for failure in facts["failures"]:
        console.print(f"trial {failure['trial']} failed: {failure['reason']}")
    for look in facts["test_looks"]:
        console.print(f"test split looked at on {look['when']} for trial {look['trial']}")
    if facts["live"] is not None:
        for worker in facts["live"]["workers"]:
            console.print(worker_words(worker))
        console.print(Costs(**facts["live"]["costs"]).words())
    console.print(f"storage: {facts['storage']}")
    return 0


def show_front(arguments: argparse.Namespace) -> int:
    """Print the non-dominated trials."""
    results, _ = _results(arguments, whole=False)
    rows = results.front()
    if arguments.json:
        output.print_json(
            {
                "study": results.name,
                "objectives": [objective.to_dict() for objective in results.objectives],
                "front": [_brief(row, results) | {"trial": row.number} for row in rows],
            }
        )
        return 0
    print_front(results, costs=arguments.costs)
    return 0


def write_report(arguments: argparse.Namespace) -> int:
    """Write the report's HTML file."""
    from peftnas.search import report

    results, opened = _results(arguments, whole=True)
    path = Path(arguments.to).expanduser() if arguments.to else opened.out / "report.html"
    options.check_writable(path)
    report.write_report(results, path)
    if arguments.json:
        output.print_json({"report": str(path.absolute())})
    else:
        output.console().print(f"report: {path}")
    return 0


def print_front(results: StudyResults, *, costs: bool = False) -> None:
    """The front as a table for people.

    Args:
        results: of the study.
        costs: show every measured cost, not only those that a constraint bounds.
    """
    rows = results.front()
    if not rows:
        output.console().print("no finished trial yet")
        return
    bounded = {parse_constraint(text).name for text in results.content.get("constraints", ())}
    names = [name for name in results.measured_costs() if costs or name in bounded]
    heads = ["trial", *(objective.words for objective in results.objectives)]
    heads += [*(COSTS[name].title for name in names), "architecture"]
    cells = [
        [
            str(row.number),
            *(_value(row, objective) for objective in results.objectives),
            *(COSTS[name].words(row.costs[name]) if name in row.costs else "-" for name in names),
            row.words,
        ]
        for row in rows
    ]
    title = (
        f"{results.name}: {output.several(len(rows), 'point')} on the front of "
        f"{output.several(len(results.finished), 'finished trial')}"
    )
    output.print_table(title, heads, cells)


def _results(
    arguments: argparse.Namespace, *, whole: bool
) -> tuple[StudyResults, Named | options.Opened]:
    from peftnas.search.results import open_results

    with output.stdout_for_json(arguments.json):
        named = named_study(arguments)
        if named is not None:
            with contextlib.suppress(UsageError):  # said below, after FILE itself was run
                return open_results(named.url, named.name, whole=whole), named
        opened = options.open_study(arguments)
        return open_results(opened.url, opened.study.name, whole=whole), opened


def _brief(row: TrialRow, results: StudyResults) -> dict[str, Any]:
    brief: dict[str, Any] = {
        "state": row.state,
        "values": row.values,
        "words": row.words,
        "architecture": row.architecture,
        "recipe": row.recipe,
        "trainable_parameters": row.trainable_parameters,
        "costs": row.costs,
    }
    if row.baseline is not None:
        brief |= {"baseline": row.baseline, "reason": row.reason}
    return brief


def cost_words(row: TrialRow, results: StudyResults) -> str:
    """What a row cost beside its objectives: ``train memory 312 MB, train step 48.2 ms``."""
    names = [name for name in results.measured_costs() if name in row.costs]
    return ", ".join(f"{COSTS[name].title} {COSTS[name].words(row.costs[name])}" for name in names)


def _value(row: TrialRow, objective: Objective) -> str:
    if objective.name in MEASURED:
        return COSTS[objective.name].words(row.values[objective.name])
    return output.number(row.values[objective.name], whole=objective.whole)


def _values(row: TrialRow, results: StudyResults) -> str:
    return ", ".join(
        f"{objective.name} {_value(row, objective)}"
        for objective in results.objectives
        if objective.name in row.values
    )
