"""Whether a format can hold an architecture: decided on untrained modules, before any training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peftnas.search.errors import UsageError

if TYPE_CHECKING:
    from peftnas.search.results import TrialRow
    from peftnas.search.trial.bench import Bench


def check_form(row: TrialRow, bench: Bench, form: str) -> None:
    """Refuse a format that cannot hold the architecture of a trial, whatever it has learned.

    Args:
        row: a finished trial.
        bench: its backbone and data.
        form: "peftnas", which holds everything; "peft"; "merged".
    Raises:
        UsageError: naming the part and why, or that peft is not installed.
    """
    from peftnas.methods import Architecture, attach
    from peftnas.methods.interchange import check_peft
    from peftnas.methods.interchange.merged import check_mergeable

    if form == "peftnas":
        return
    if bench.form.kind != "text":
        raise UsageError(
            f"--format {form}: a head for examples of the form {bench.form.kind!r} is written in "
            "peftnas's own format alone; take --format peftnas"
        )
    assert row.architecture is not None, "finished trials have one"
    model = bench.model(row.recipe["dtype"])
    attached = attach(model, Architecture.from_dict(row.architecture), anatomy=bench.anatomy)
    try:
        with refused(form):
            if form == "merged":
                check_mergeable(attached)
            else:
                check_peft(attached)
                _check_token_types(bench, attached.prompt_length)
    finally:
        attached.detach()


def _check_token_types(bench: Bench, prompt_length: int) -> None:
    """Refuse prompts on pairs where the backbone tells the second text from the first."""
    typed = getattr(bench.backbone.config(), "type_vocab_size", 1) > 1
    if typed and prompt_length and getattr(bench.data.train, "pairs", None) is not None:
        raise ValueError(
            "it cannot take a prompt on pairs of texts, as HF peft drops the token types that "
            "tell the second text from the first; keep peftnas's own format"
        )


@contextmanager
def refused(form: str) -> Iterator[None]:
    """Turns what cannot be written in a format into one sentence."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"--format {form}: {error}") from error
    except ValueError as error:
        raise UsageError(f"--format {form}: {error} (--format peftnas)") from error
