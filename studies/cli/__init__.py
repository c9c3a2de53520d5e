"""The command line, ``peftnas``; one file for each group of commands."""

from peftnas.studies.cli.main import main

__all__ = ["main"]
