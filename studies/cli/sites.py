"""The site table of a backbone as ``peftnas doctor --backbone`` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peftnas.studies.cli import output

if TYPE_CHECKING:
    from peftnas.studies.site_table import LayerGroup, Site, SiteTable, StackTable

NORM_ORDERS = {"post": "post, LN(x + F(x))", "pre": "pre, x + F(LN x)"}


def print_site_table(table: SiteTable) -> None:
    """Stacks, layers, linears and norms, then the methods with their counts."""
    console = output.console()
    console.print(table.name)
    layers = f"{table.n_layers}"
    if len(table.stacks) > 1:
        layers += f" in {len(table.stacks)} stacks: " + ", ".join(
            f"{stack.name} {_numbers(stack.layers)}" for stack in table.stacks
        )
    for head, text in (
        ("family", f"{table.family} (model type {table.model_type})"),
        ("norm order", NORM_ORDERS[table.norm_order]),
        ("positions", table.positions),
        ("layers", layers),
        ("parameters", f"{table.backbone_parameters:,} without head"),
    ):
        console.print(output.hanging(f"  {head:<12}", text))
    entered = [stack.name for stack in table.stacks if stack.entries]
    for stack in table.stacks:
        _print_stack(stack, entered)
    _print_methods(table)


def _print_stack(stack: StackTable, entered: Sequence[str]) -> None:
    """A stack; ``entered``: names of the stacks that take a prompt."""
    console = output.console()
    console.print(f"\n{stack.name or 'one stack'}{' (causal)' if stack.causal else ''}")
    entries = "none: no word embeddings here, and no module that is the whole embedding layer"
    if entered:
        entries = f"none: prompts enter the {' and the '.join(entered)}"
    if stack.entries:
        entries = f"width {stack.entry_width}, entry {' or '.join(stack.entries)}"
    console.print(output.hanging(f"  {'prompt':<12}", entries))
    for group in stack.groups:
        where = "" if len(stack.groups) == 1 else f"{_layers(group.layers)}: "
        prefix = " and ".join(group.prefix) or "cannot enter"
        console.print(output.hanging(f"  {'prefix':<12}", where + prefix))
    for group in stack.groups:
        _print_group(group)
    if stack.outside:
        heads = ["site", "in x out", "bias", "module outside the layers"]
        output.print_table("", heads, _rows(stack.outside), numbers=0)


def _print_group(group: LayerGroup) -> None:
    sizes = [f"width {group.width}", f"inside {group.ffn_width}"]
    if group.heads:
        heads = f"{output.several(group.heads, 'head')} of {group.head_width}"
        if group.kv_heads != group.heads:
            heads += f", {group.kv_heads} of keys and values"
        sizes.append(heads)
    title = _layers(group.layers)
    if group.numbers != tuple(map(str, group.layers)):
        title += f" ({_span(group.numbers)})"
    output.console().print(f"\n{title}: {', '.join(sizes)}")
    rows, former = [], ""
    for site, row in zip(group.sites, _rows(group.sites, group.path), strict=True):
        place = site.sublayer or "(layer)"
        rows.append(["" if place == former else place, *row])
        former = place
    columns = ["sublayer", "site", "in x out", "bias", f"module in {group.path}"]
    output.print_table("", columns, rows, numbers=0)


def _rows(sites: Sequence[Site], inside: str = "") -> list[list[str]]:
    inputs = max(len(str(site.n_in)) for site in sites)
    outputs = max(len(str(site.n_out)) for site in sites)
    return [
        [
            site.name,
            f"{'' if site.norm else site.n_in:>{inputs}} {' ' if site.norm else 'x'} "
            f"{site.n_out:>{outputs}}",
            "yes" if site.bias else "no",
            site.path.removeprefix(f"{inside}.") + _build(site),
        ]
        for site in sites
    ]


def _build(site: Site) -> str:
    """What is unusual about a linear's module."""
    said = [f"part {site.part} of {site.parts}"] if site.part else []
    said += ["transposed"] if site.transposed else []
    return f" ({', '.join(said)})" if said else ""


def _print_methods(table: SiteTable) -> None:
    rows = [
        [
            method.kind,
            "refused" if method.trainable is None else f"{method.trainable:,}",
            "" if method.percent is None else f"{method.percent:.3f} %",
            method.refusal or method.words,
        ]
        for method in table.methods
    ]
    heads = ["method", "trainable", "share", "with its defaults"]
    output.print_table("", heads, rows, numbers=2)


def _layers(layers: Sequence[int]) -> str:
    return f"{'layer' if len(layers) == 1 else 'layers'} {_numbers(layers)}"


def _numbers(layers: Sequence[int]) -> str:
    from peftnas.methods.layers import layer_words

    return layer_words(layers)


def _span(numbers: Sequence[str]) -> str:
    """What ``{i}``, or ``{i}`` and ``{j}``, are in the paths of some layers."""
    if all(number.isdigit() for number in numbers):
        return f"{{i}} = {_numbers([int(number) for number in numbers])}"
    return f"{{i}},{{j}} = {' '.join(numbers)}"
