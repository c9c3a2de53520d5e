"""``peftnas space``: what a study searches, before anything is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from peftnas.search.errors import UsageError
from peftnas.studies.cli import options, output, space_difference

if TYPE_CHECKING:
    from peftnas.spaces.sizes.size import Size
    from peftnas.studies.space_facts import Budget, SpaceFacts

_DIGITS = 30  # of a number that is printed in full


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``space``."""
    command = options.add_command(
        commands,
        "space",
        "print the search space in words, its size, what budgets leave of it, ten samples; or how "
        "two spaces differ; looks at the backbone's shapes, at no data",
        "peftnas space quickstart\npeftnas space s4\n"
        "peftnas space quickstart --plot space.html\n"
        "peftnas space one.py other.py",
    )
    options.add_study(command)
    command.add_argument(
        "other", metavar="OTHER", nargs="?", help="a second FILE: print how the two spaces differ"
    )
    command.add_argument(
        "--plot", metavar="HTML", help="write the figures into one HTML file that opens offline"
    )
    command.set_defaults(act=show_space)


def show_space(arguments: argparse.Namespace) -> int:
    """Print the space of FILE on its backbone; needs the backbone's config, no data."""
    if arguments.other is not None:
        if arguments.plot is not None:
            raise UsageError("--plot takes one space, got two files; plot one of them at a time")
        return space_difference.show(arguments)
    if arguments.plot is not None:
        options.check_writable(Path(arguments.plot), "--plot")
    with output.stdout_for_json(arguments.json):
        facts = open_space(arguments)
        if not arguments.json:
            _print(facts)
        if arguments.plot is not None:
            from peftnas.studies.space_page import write_plot

            write_plot(facts, Path(arguments.plot))
    if arguments.json:
        plot = {} if arguments.plot is None else {"plot": arguments.plot}
        output.print_json(facts.to_dict() | plot)
    elif arguments.plot is not None:
        output.console().print(f"figures: {arguments.plot}")
    return 0


def open_space(arguments: argparse.Namespace) -> SpaceFacts:
    """The space of FILE on its backbone, some architecture of which meets all constraints.

    Raises:
        UsageError: if the file is wrong, or nothing meets the constraints.
    """
    from peftnas.studies.space_facts import SpaceFacts, bind_space

    opened = options.open_study(arguments)
    with options.as_usage():
        backbone = options.find_backbone(opened)
    with options.in_words_of(opened, backbone.anatomy()):
        bound = bind_space(opened.study, backbone)
        bound.check_feasible()
    return SpaceFacts(opened.study, backbone, bound)


def _print(facts: SpaceFacts) -> None:
    """Section by section, each as soon as it is known: counting a large space takes seconds."""
    console = output.console()
    console.print(facts.title)
    console.print()
    console.print(facts.bound.tree())
    _print_recipe(facts)
    _print_draws(facts)
    _print_size(facts)
    _print_budgets(facts)
    _print_histogram(facts)
    _print_samples(facts)


def _print_recipe(facts: SpaceFacts) -> None:
    if facts.recipe_domains:
        console = output.console()
        console.print("\nrecipe, searched with it")
        for path, domain in facts.recipe_domains.items():
            console.print(f"  {path.removeprefix('recipe.')}: {domain}")


def _print_draws(facts: SpaceFacts) -> None:
    rows = facts.draws.rows()
    if rows:
        output.console().print("\nhow it is drawn")
        width = max(len(how) for how, _ in rows)
        for how, fields in rows:
            output.console().print(output.hanging(f"  {how:<{width}}  ", fields))


def _print_size(facts: SpaceFacts) -> None:
    console, whole = output.console(), facts.backbone_parameters
    low, high = facts.trainable_parameters
    console.print("\nhow large it is")
    console.print(f"  distinct architectures  {size_words(facts.size)}")
    console.print(f"  points                  {size_words(facts.raw_size)}")
    why = facts.size.why or facts.raw_size.why
    if why:
        console.print(output.hanging("  bounds, not exact, for  ", why))
    if facts.size.reals:
        fields = ", ".join(facts.size.reals)
        console.print(output.hanging("  not counted             ", f"values of {fields}"))
    console.print(
        f"  trainable parameters    {low:,} to {high:,}, {percent(low, whole)} to "
        f"{percent(high, whole)} of the backbone's {whole:,}"
        + ("" if facts.size.exact else " (as far as samples reached)")
    )


def _print_budgets(facts: SpaceFacts) -> None:
    from peftnas.studies.space_bins import share

    rows = [
        [
            _budget_words(facts, row),
            f"{row.max_parameters:,}",
            short_size(row.size),
            share(row.size, facts.size),
        ]
        for row in facts.budgets
    ]
    output.console().print()
    output.print_table(
        "how much of it a budget leaves",
        ["budget", "trainable parameters", "architectures", "share"],
        rows,
        numbers=3,
    )


def _budget_words(facts: SpaceFacts, row: Budget) -> str:
    if row.percent is not None:
        return f"{row.percent} %"
    if facts.bound.max_parameters is None:
        return "no limit"
    return f"{percent(row.max_parameters, facts.backbone_parameters)}, the space's own"


def _print_histogram(facts: SpaceFacts) -> None:
    from peftnas.studies.space_bins import bars

    bins = facts.histogram
    drawn, said = bars([one.size.high for one in bins])
    rows = [
        [
            f"{one.low:,}" if one.low == one.high else f"{one.low:,} to {one.high:,}",
            short_size(one.size),
            bar,
        ]
        for one, bar in zip(bins, drawn, strict=True)
    ]
    what = "architectures" if facts.counted else "samples"
    note = "" if facts.counted else "; the space is too entangled to count"
    output.print_table(
        f"{what} by trainable parameters ({said}{note})",
        ["trainable parameters", what, ""],
        rows,
    )


def _print_samples(facts: SpaceFacts) -> None:
    whole = facts.backbone_parameters
    shown = {
        (
            f"{sample.trainable_parameters:,}",
            percent(sample.trainable_parameters, whole),
            sample.architecture.words(),
        ): None
        for sample in facts.samples
    }
    rows = [list(row) for row in shown]  # a small space has fewer than ten
    spread = ", spread over the range of parameters" if facts.counted and len(rows) > 1 else ""
    output.print_table(
        f"{output.several(len(rows), 'sample')}{spread}",
        ["parameters", "of backbone", "architecture"],
        rows,
    )
    if facts.beside_full:
        output.console().print(
            output.hanging(
                "note: ",
                f"full fine-tuning trains every weight, and {', '.join(facts.beside_full)} beside "
                "it folds into these: more parameters, no function more; drop one of the two, or "
                "make them a Choice",
            )
        )


def size_words(size: Size) -> str:
    """A size in full, or its first digits where it has very many."""
    from peftnas.studies.space_bins import short

    if size.exact and size.high < 10**_DIGITS:
        return str(size)
    if size.exact:
        return f"{short(size.low)} ({len(str(size.low))} digits, --json prints them)"
    return f"between {short(size.low)} and {short(size.high)} (bounds)"


def short_size(size: Size) -> str:
    """A size in a table."""
    from peftnas.studies.space_bins import short

    if size.exact:
        return short(size.low)
    return f"{short(size.low)} to {short(size.high)}"


def percent(part: int, whole: int) -> str:
    """A part of the backbone: ``0.0828 %``."""
    return f"{100 * part / whole:.3g} %"
