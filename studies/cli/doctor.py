"""``peftnas doctor``: what this machine has and lacks; what a backbone has, method by method."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from peftnas.studies.cli import options, output

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from peftnas.methods import Family


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``doctor``."""
    command = options.add_command(
        commands,
        "doctor",
        "look at versions, cores, memory, devices, Ray, storage and weights, exit 1 on a problem; "
        "or at the sites of a backbone",
        "peftnas doctor\npeftnas doctor --backbone path/to/model-folder",
    )
    command.add_argument(
        "--backbone",
        metavar="X",
        help="only print the sites of this backbone and which methods it takes; X: a folder, a "
        "config.json (no weights needed), a name on the hub, quickstart, or a study's .py file "
        "(its backbone, with a family of its own)",
    )
    command.add_argument("--out", metavar="FOLDER", default="runs", help="where studies would lie")
    options.add_json(command)
    command.set_defaults(act=show)


def show(arguments: argparse.Namespace) -> int:
    """Print what was found on this machine, or about the backbone."""
    return show_findings(arguments) if arguments.backbone is None else show_backbone(arguments)


def show_backbone(arguments: argparse.Namespace) -> int:
    """Print the sites of a backbone and what can be attached to them.

    Raises:
        UsageError: if it cannot be found or read, or no family describes it.
    """
    from peftnas.methods.describe import UnsupportedBackboneError, describe
    from peftnas.search.backbone import BackboneError
    from peftnas.studies.cli.sites import print_site_table
    from peftnas.studies.site_table import site_table

    with output.stdout_for_json(arguments.json):
        name, config, family = _found(arguments.backbone)
        try:
            table = site_table(name, describe(config, family))
        except UnsupportedBackboneError as error:
            raise BackboneError(f"backbone {name!r}: {error}") from error
    if arguments.json:
        output.print_json(asdict(table))
    else:
        print_site_table(table)
    return 0


def _found(source: str) -> tuple[str, PretrainedConfig, Family | None]:
    """Name and config of a backbone, and the family that a study gives it."""
    if not source.endswith(".py"):
        return *_config(source), None
    from peftnas.search.backbone import Backbone, find_config
    from peftnas.studies.study_file import load_study

    file = load_study(source)
    named = file.study.backbone
    while callable(named) and not isinstance(named, Backbone):
        named = named()
    if isinstance(named, Backbone):
        return named.name, named.config(), named.family
    return *find_config(named, base=file.base), None


def _config(source: str) -> tuple[str, PretrainedConfig]:
    from peftnas.search.backbone import find_config
    from peftnas.studies import weights

    folder = weights.package_folder()
    if source in (weights.WORD, weights.HUB_NAME) and folder is not None:
        return weights.HUB_NAME, find_config(folder)[1]
    if source == weights.WORD:
        source = weights.HUB_NAME
    if Path(source).expanduser().exists():
        return find_config(source)
    with options.asking_the_hub(source):
        return find_config(source)


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
