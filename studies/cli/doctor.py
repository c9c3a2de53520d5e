"""``peftnas doctor``: what this machine has, what is wrong with it, what to do."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from peftnas.studies.cli import options, output


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``doctor``."""
    command = options.add_command(
        commands,
        "doctor",
        "look at versions, cores, memory, devices, Ray, storage and weights; exit 1 on a problem",
        "peftnas doctor",
    )
    command.add_argument("--out", metavar="FOLDER", default="runs", help="where studies would lie")
    options.add_json(command)
    command.set_defaults(act=show_findings)


def show_findings(arguments: argparse.Namespace) -> int:
    """Print what was found; 1 when a search would fail."""
    from peftnas.studies.doctor import examine

    with output.stdout_for_json(arguments.json):
        findings = list(examine(Path(arguments.out).expanduser()))
    problems = [finding for finding in findings if finding.state == "problem"]
    if arguments.json:
        output.print_json([asdict(finding) for finding in findings])
        return 1 if problems else 0
    signs = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
    rows = [[finding.subject, signs[finding.state], finding.value] for finding in findings]
    output.print_table("", ["", "", "found"], rows, numbers=0)
    for finding in findings:
        if finding.remedy:
            output.console().print(f"{finding.subject}: {finding.value}. To do: {finding.remedy}.")
    if not problems:
        output.console().print("Ready: peftnas run quickstart")
    return 1 if problems else 0
