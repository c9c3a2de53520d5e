"""The command ``peftnas``: its parser, and what its exit codes mean."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from typing import NoReturn

from peftnas import __version__
from peftnas.search.errors import StorageError, UsageError
from peftnas.studies.cli import (
    control,
    doctor,
    export_evaluate,
    methods,
    ready_made,
    run,
    space,
    status_front_report,
)
from peftnas.studies.errors import WorkFailedError

DONE, FAILED, WRONG_USAGE = 0, 1, 2

DESCRIPTION = """\
Search the parameter-efficient fine-tuning architectures of a pretrained
transformer on the Pareto front of accuracy against budget.
"""
EPILOG = """\
Most commands take FILE, a Python file with a module-level `study`, or the name
of a ready-made one (`peftnas studies`). Everything of a study lies in --out
(default: runs/NAME): study.db, checkpoints/, report.html. `peftnas COMMAND
--help` explains the options.

example:
  peftnas run quickstart --trials 12
  peftnas front quickstart

exit codes: 0 done, 1 the work failed, 2 wrong usage (nothing was started)
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="peftnas",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"peftnas {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for group in (
        run,
        control,
        space,
        status_front_report,
        export_evaluate,
        methods,
        ready_made,
        doctor,
    ):
        group.add_commands(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; those of the process by default.
    Returns:
        0 done, 1 the work failed, 2 wrong usage.
    """
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help, the version or what is wrong
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    try:
        return int(arguments.act(arguments))
    except UsageError as error:
        print(f"peftnas: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_USAGE
    except (WorkFailedError, StorageError) as error:
        print(f"peftnas: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(
            f"peftnas: cannot read or write{where}: {error.strerror or error}; check the path, "
            "its permissions and the free space",
            file=sys.stderr,
        )
        return FAILED if error.errno == errno.ENOSPC else WRONG_USAGE
    except KeyboardInterrupt:
        print("peftnas: interrupted; the same command goes on from here", file=sys.stderr)
        return FAILED
