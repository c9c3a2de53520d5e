"""``peftnas space A.py B.py``: how two spaces differ."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from peftnas.studies.cli import output

if TYPE_CHECKING:
    from peftnas.studies.space_difference import Difference, Overlap
    from peftnas.studies.space_facts import SpaceFacts


def show(arguments: argparse.Namespace) -> int:
    """Print how the spaces of two files differ."""
    from peftnas.studies.cli.space import open_space
    from peftnas.studies.space_difference import difference, difference_dict

    with output.stdout_for_json(arguments.json):
        other = argparse.Namespace(**{**vars(arguments), "file": arguments.other})
        spaces = (open_space(arguments), open_space(other))
        found = difference(*spaces)
    if arguments.json:
        output.print_json(difference_dict(*spaces, found))
    else:
        _print((arguments.file, arguments.other), spaces, found)
    return 0


def _print(
    files: tuple[str, str], spaces: tuple[SpaceFacts, SpaceFacts], found: Difference
) -> None:
    from peftnas.studies.space_difference import items_tree

    console = output.console()
    for letter, file, facts in zip("AB", files, spaces, strict=True):
        console.print(f"{letter}: {facts.title} ({file})")
    if spaces[0].backbone.sha256 != spaces[1].backbone.sha256:
        console.print("the backbones differ; each space is counted on its own")
    console.print()
    _print_sizes(spaces)
    for letter, facts, only in zip("AB", spaces, found.only, strict=True):
        if only:
            console.print(f"only in {letter}\n{items_tree(facts, only)}\n")
    if found.changed:
        rows = [[name, *pair] for name, pair in found.changed.items()]
        output.print_table(
            "in both, but not the same", ["", "A", "B"], rows, numbers=0, wrapping=2
        )
    if found.same:
        console.print(output.hanging("the same in both: ", ", ".join(found.same)))
        console.print()
    for letter, overlap in zip("AB", found.overlaps, strict=True):
        _print_overlap(letter, "BA"["AB".index(letter)], overlap)
    console.print(_verdict(found))


def _print_sizes(spaces: tuple[SpaceFacts, SpaceFacts]) -> None:
    from peftnas.studies.cli.space import percent, short_size

    rows = [
        ["distinct architectures", *(short_size(facts.size) for facts in spaces)],
        ["points", *(short_size(facts.raw_size) for facts in spaces)],
    ]
    for end, name in enumerate(("fewest", "most")):
        numbers = [facts.trainable_parameters[end] for facts in spaces]
        rows.append([f"{name} trainable parameters", *(f"{number:,}" for number in numbers)])
    rows.append(
        [
            "most, of the backbone",
            *(percent(f.trainable_parameters[1], f.backbone_parameters) for f in spaces),
        ]
    )
    output.print_table("", ["", "A", "B"], rows, numbers=2)


def _print_overlap(letter: str, other: str, overlap: Overlap) -> None:
    how = ", all equally likely" if overlap.uniformly else ""
    console = output.console()
    console.print(
        f"of {overlap.drawn} architectures drawn from {letter}{how}, {overlap.inside} lie in "
        f"{other}"
    )
    if overlap.why_not is not None:
        console.print(output.hanging("  why not, mostly: ", overlap.why_not))


def _verdict(found: Difference) -> str:
    """What the draws say of the two as sets."""
    inside = [overlap.inside for overlap in found.overlaps]
    all_of = [overlap.inside == overlap.drawn for overlap in found.overlaps]
    if all(all_of):
        return "no draw tells them apart" if found.changed or any(found.only) else "they are equal"
    if any(all_of):
        smaller, larger = "AB" if all_of[0] else "BA"
        return f"{smaller} looks like a part of {larger}"
    if not any(inside):
        return "they look disjoint"
    return "they overlap"
