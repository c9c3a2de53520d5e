"""``peftnas space``: what a study searches, before anything is trained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from peftnas.studies.cli import options, output

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

N_SAMPLES = 5


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``space``."""
    command = options.add_command(
        commands,
        "space",
        "print the search space in words, its size, the range of parameters, five samples",
        "peftnas space quickstart",
    )
    options.add_study(command)
    command.set_defaults(act=show_space)


def show_space(arguments: argparse.Namespace) -> int:
    """Print the space of FILE on its backbone; needs the backbone's config, no data."""
    from peftnas.search.distributions import RECIPE
    from peftnas.spaces.dimensions import field_dimensions
    from peftnas.spaces.words import domain_words

    with output.stdout_for_json(arguments.json), options.as_usage():
        opened = options.open_study(arguments)
        backbone = options.find_backbone(opened)
        bound = opened.study.space.bind(backbone.anatomy())
        bound.check_feasible()
        facts = _facts(bound, opened.study.seed)
        facts["recipe_domains"] = {
            dimension.path: domain_words(dimension.domain)
            for dimension in field_dimensions(opened.study.recipe, RECIPE)
        }
    if arguments.json:
        output.print_json({"study": opened.study.name, "backbone": backbone.name} | facts)
    else:
        _print(bound, facts, f"{opened.study.name} on {backbone.name}")
    return 0


def _facts(bound: BoundSpace, seed: int) -> dict[str, Any]:
    size, raw_size = bound.size(), bound.raw_size()
    low, high = bound.parameter_range()
    samples = [bound.sample(seed + number) for number in range(N_SAMPLES)]
    return {
        "tree": bound.tree(),
        "size": {"low": size.low, "high": size.high, "exact": size.exact, "words": str(size)},
        "raw_size": {
            "low": raw_size.low,
            "high": raw_size.high,
            "exact": raw_size.exact,
            "words": str(raw_size),
        },
        "max_parameters": bound.max_parameters,
        "trainable_parameters": [low, high],
        "trainable_parameters_exact": size.exact,
        "backbone_parameters": bound.anatomy.backbone_parameters,
        "samples": [
            {
                "trainable_parameters": bound.count(sample),
                "words": sample.words(),
                "architecture": sample.to_dict(),
            }
            for sample in samples
        ],
    }


def _print(bound: BoundSpace, facts: dict[str, Any], title: str) -> None:
    console = output.console()
    console.print(title)
    console.print()
    console.print(facts["tree"])
    for path, domain in facts["recipe_domains"].items():
        console.print(f"{path}: {domain}")
    console.print()
    whole = facts["backbone_parameters"]
    low, high = facts["trainable_parameters"]
    console.print(f"distinct architectures: {facts['size']['words']}")
    console.print(f"raw points:             {facts['raw_size']['words']}")
    console.print(
        f"trainable parameters:   {low:,} .. {high:,} ({_percent(low, whole)} .. "
        f"{_percent(high, whole)} of the backbone's {whole:,}), without head"
        + ("" if facts["trainable_parameters_exact"] else "; the range that samples reached")
    )
    rows = [
        [
            f"{sample['trainable_parameters']:,}",
            _percent(sample["trainable_parameters"], whole),
            sample["words"],
        ]
        for sample in facts["samples"]
    ]
    output.print_table(f"{N_SAMPLES} samples", ["parameters", "%", "architecture"], rows)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %"
