"""What all commands about a study share: their arguments, and the study that these name."""

from __future__ import annotations

import argparse
import contextlib
import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from peftnas.search.errors import UsageError, about
from peftnas.studies.hub import offline_when_unreachable

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy
    from peftnas.search.backbone import Backbone
    from peftnas.search.study import Study
    from peftnas.spaces.space import SearchSpace
    from peftnas.studies.study_file import StudyFile

WIDTH = 78  # columns of the texts that argparse leaves as they are


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    says: str,
    example: str,
) -> argparse.ArgumentParser:
    """A command with its one-line help and an example under it."""
    return commands.add_parser(
        name,
        help=says,
        description=textwrap.fill(f"{says[0].upper()}{says[1:]}.", WIDTH),
        epilog="example:\n" + "\n".join(f"  {line}" for line in example.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """``--json``."""
    command.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_study(command: argparse.ArgumentParser) -> None:
    """FILE and the options that say where its study lives and how it differs from the file."""
    command.add_argument(
        "file",
        metavar="FILE",
        help="Python file with a `study`, or the name of a "
        "ready-made one, such as quickstart (`peftnas studies` lists them)",
    )
    command.add_argument(
        "--out", metavar="FOLDER", help="folder of the study (default: runs/NAME)"
    )
    command.add_argument(
        "--storage", metavar="URL", help="database (default: sqlite:///OUT/study.db)"
    )
    command.add_argument(
        "--data",
        metavar="FOLDER",
        help="where the task's data are looked for (default: beside FILE)",
    )
    command.add_argument(
        "--backbone",
        metavar="FOLDER",
        help="backbone to use instead of FILE's own: a folder, or quickstart",
    )
    command.add_argument(
        "--seed", metavar="S", type=whole(0), help="seed to use instead of FILE's own"
    )
    command.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        dest="changes",
        help="change recipe.FIELD or name, such as recipe.steps=200; repeatable",
    )
    add_json(command)


def add_trial(command: argparse.ArgumentParser) -> None:
    """``--trial N``."""
    command.add_argument(
        "--trial",
        metavar="N",
        type=whole(0),
        required=True,
        help="number of a finished trial, as front lists them",
    )


class whole:  # noqa: N801 - argparse puts the name of a type into its messages
    """A whole number of at least ``low``, as a type for argparse."""

    def __init__(self, low: int) -> None:
        self.low = low

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = self.low - 1
        if number < self.low:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {self.low}, got {text!r}")
        return number


def minutes(text: str) -> float:
    """A positive number of minutes, as a type for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of minutes > 0, got {text!r}")
    return number


@dataclass(frozen=True)
class Opened:
    """The study that a command is about.

    Attributes:
        study: with everything that the command line changed.
        file: where it was defined.
        out: its folder.
        storage_url: the given one; ``None`` for ``study.db`` in ``out``.
        data: folder given with ``--data``.
        backbone_of_file: whether the backbone is FILE's own.
    """

    study: Study
    file: StudyFile
    out: Path
    storage_url: str | None
    data: Path | None
    backbone_of_file: bool = True

    @property
    def url(self) -> str:
        """The storage's URL, given or not."""
        from peftnas.search.storage import sqlite_url

        return self.storage_url or sqlite_url(self.out)


def open_study(arguments: argparse.Namespace) -> Opened:
    """Load FILE and apply the options; nothing is opened or started yet.

    Raises:
        UsageError: if the file, or an option, is wrong.
    """
    from peftnas.studies import weights
    from peftnas.studies.study_file import changed, load_study

    data = None
    if arguments.data is not None:
        data = Path(arguments.data).expanduser().absolute()
        if not data.is_dir():
            raise UsageError(f"--data must be a folder, but there is no folder {arguments.data}")
    file = load_study(arguments.file)
    study = file.study
    with as_usage():
        if arguments.backbone == weights.WORD:
            study = replace(study, backbone=weights.backbone)
        elif arguments.backbone is not None:
            folder = Path(arguments.backbone).expanduser().absolute()
            study = replace(study, backbone=str(folder))
        if arguments.seed is not None:
            study = replace(study, seed=arguments.seed)
        study = changed(study, arguments.changes)
    out = Path(arguments.out).expanduser() if arguments.out else Path("runs") / study.name
    own = arguments.backbone is None
    return Opened(study, file, out.absolute(), arguments.storage, data, own)


def find_backbone(opened: Opened) -> Backbone:
    """The study's backbone, of a family that is described.

    Raises:
        UsageError: if it is missing, or is not one, or its family is not known.
    """
    from peftnas.search.backbone import find_backbone as find

    source, base = opened.study.backbone, opened.file.base
    local = not isinstance(source, str) or Path(source).is_dir() or (base / source).is_dir()
    asking = contextlib.nullcontext() if local else asking_the_hub(str(source))
    with on_its_line(opened), about("backbone"), asking:
        found = find(source, base=base)
        found.anatomy()
    return found


@contextmanager
def asking_the_hub(source: str) -> Iterator[None]:
    """Look for a backbone on the hub without waiting for a network that is not there.

    Raises:
        BackboneError: one that says so where the hub was the only place left.
    """
    from peftnas.search.backbone import BackboneError

    with offline_when_unreachable() as offline:
        try:
            yield
        except BackboneError as error:
            if not offline or error.__cause__ is None:  # it can only be a path
                raise
            raise BackboneError(
                f"backbone {source!r} is no folder here, and not from the hub ({offline}); "
                "correct the path, or name a folder with --backbone"
            ) from error


def check_writable(path: Path, option: str = "--to") -> None:
    """Refuse a file to write that is a folder, or whose folder is not there.

    Args:
        path: of the file.
        option: that it was given with.
    Raises:
        UsageError: with the reason.
    """
    if path.is_dir():
        raise UsageError(f"{option} must name a file, got the folder {path}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{option} must lie in an existing folder, but there is no {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{option} must lie in a folder that can be written, got {folder}")


@contextmanager
def as_usage() -> Iterator[None]:
    """Take any ValueError for wrong usage: for code that only checks what the user wrote."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextmanager
def on_its_line(opened: Opened) -> Iterator[None]:
    """Say an error about an argument of the study with the line of FILE that it stands on.

    Args:
        opened: the study; what ``--backbone`` replaced is on no line.
    """
    from peftnas.studies.source_lines import placed_argument

    try:
        yield
    except UsageError as error:
        written = error.argument != "backbone" or opened.backbone_of_file
        if not error.argument or not written:
            raise
        sentence = placed_argument(str(error), opened.file, error.argument)
        raise UsageError(sentence) from error


@contextmanager
def in_words_of(opened: Opened, anatomy: Anatomy) -> Iterator[None]:
    """Take any ValueError for wrong usage, said of the line of FILE that it is about.

    For what is found wrong only after FILE has run, such as a layer that a backbone does not have.

    Args:
        opened: the study.
        anatomy: of its backbone.
    """
    from peftnas.studies.source_lines import placed

    try:
        yield
    except ValueError as error:
        item = _refused_item(opened.study.space, anatomy)
        raise UsageError(placed(str(error), opened.file, item)) from error


def _refused_item(space: SearchSpace, anatomy: Anatomy) -> int | None:
    """Number of the first item that the backbone does not take by itself."""
    for number, item in enumerate(space.items):
        try:
            type(space)(item).bind(anatomy)
        except ValueError:
            return number
    return None
