"""Published combinations of methods, each an :class:`Architecture` with its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peftnas.methods.adapter import Adapter
from peftnas.methods.bitfit import BitFit
from peftnas.methods.central_gate import GatedLoRAPrefix
from peftnas.methods.checks import check_anatomy
from peftnas.methods.compacter import Compacter
from peftnas.methods.linear_adapter import LinearAdapter
from peftnas.methods.lora import LoRA
from peftnas.methods.prefix import Prefix
from peftnas.methods.vpt import VPT
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.fields import Configurable

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Layers = tuple[int, ...] | None

__all__ = [
    "houlsby",
    "pfeiffer",
    "adapter_drop",
    "ptuning_v2",
    "mam",
    "unipelt_ap",
    "unipelt_apl",
    "unipelt_central",
    "autopeft",
    "llm_adapters_series",
    "llm_adapters_parallel",
    "llm_adapters_lora",
    "compacter_plus_plus",
    "bitfit_subset",
    "s4",
    "noah",
]


def __dir__() -> list[str]:
    return __all__  # what can be used, without what this file imports


def houlsby(bottleneck: int = 64, activation: str = "gelu") -> Architecture:
    """Two serial adapters a layer, behind attention and FFN. Houlsby et al. 1902.00751.

    The paper trains the norms too: add ``LNTuning()`` for that.
    """
    return Architecture(
        Adapter(site="both", placement="houlsby", bottleneck=bottleneck, activation=activation)
    )


def pfeiffer(bottleneck: int = 48) -> Architecture:
    """One serial adapter a layer, behind the FFN. Pfeiffer et al. 2005.00247."""
    return Architecture(Adapter(bottleneck=bottleneck))


def adapter_drop(anatomy: Anatomy, dropped: int, bottleneck: int = 48) -> Architecture:
    """Adapters without those of the lowest layers. Rueckle et al. 2010.11918.

    Args:
        anatomy: of the backbone.
        dropped: how many of the lowest layers go without, from 0 to all but one.
        bottleneck: width of an adapter.
    """
    check_anatomy(anatomy)
    if dropped == anatomy.n_layers:
        raise ValueError(
            f"dropped must leave at least one of the {dropped} layers an adapter, got {dropped}; "
            f"take {dropped - 1} at the most"
        )
    _check_range("dropped", dropped, anatomy.n_layers)
    return Architecture(
        Adapter(bottleneck=bottleneck, layers=tuple(range(dropped, anatomy.n_layers)))
    )


def ptuning_v2(length: int = 20) -> Architecture:
    """A flat prefix in every layer. Liu et al. 2110.07602 (below 20 for simple tasks)."""
    return Architecture(Prefix(length=length))


def mam(
    length: int = 30,
    mlp: int | None = 800,
    bottleneck: int = 512,
    scale: float = 4.0,
    *,
    cross_attention: bool = False,
) -> Architecture:
    """MAM: a prefix and a scaled parallel adapter at the FFN. He et al. 2110.04366.

    Defaults as in the authors' script for summarisation; for GLUE: 16, 16 and scale 2.

    Args:
        length: of the prefix.
        mlp: hidden width of the prefix's MLP, or ``None``.
        bottleneck: width of the adapter.
        scale: its constant factor.
        cross_attention: a prefix there too: where the backbone is an encoder-decoder.
    """
    sublayers = ("attention", "cross_attention") if cross_attention else ("attention",)
    return Architecture(
        Prefix(length=length, mlp=mlp, sublayers=sublayers),
        Adapter(insertion="parallel", bottleneck=bottleneck, scale=scale),
    )


def unipelt_ap(length: int = 10, mlp: int = 512, bottleneck: int = 48) -> Architecture:
    """UniPELT of adapter and prefix, each behind its gate. Mao et al. 2110.07577.

    bottleneck 48 is the published reduction of 16 at width 768.
    """
    return Architecture(
        Adapter(bottleneck=bottleneck, gate="unipelt"),
        Prefix(length=length, mlp=mlp, gate="unipelt"),
    )


def unipelt_apl(
    length: int = 10, mlp: int = 512, bottleneck: int = 48, rank: int = 8
) -> Architecture:
    """UniPELT of adapter, prefix and LoRA, each behind its gate. Mao et al. 2110.07577."""
    return Architecture(
        *unipelt_ap(length, mlp, bottleneck).methods,
        LoRA(rank=rank, targets=("query", "value"), gate="unipelt"),
    )


def unipelt_central(
    length: int = 10, mlp: int = 512, bottleneck: int = 48, rank: int = 8
) -> Architecture:
    """UniPELT whose LoRA and prefix share one gate, the adapter with its own. Mao 2110.07577."""
    return Architecture(
        Adapter(bottleneck=bottleneck, gate="unipelt"),
        GatedLoRAPrefix(rank=rank, length=length, mlp=mlp),
    )


def autopeft(serial: int, parallel: int, prefix: int, layers: Layers = None) -> Architecture:
    """A point of AutoPEFT: serial and parallel adapter at the FFN, and a prefix.

    One size each for all active layers; 0 leaves a part out. Zhou et al. 2301.12132.
    """
    return Architecture(
        Adapter(bottleneck=serial, layers=layers),
        Adapter(insertion="parallel", bottleneck=parallel, layers=layers),
        Prefix(length=prefix, layers=layers),
    )


def llm_adapters_series(bottleneck: int = 256) -> Architecture:
    """Adapters in series behind the FFN, its best place. Hu et al. 2304.01933."""
    return Architecture(LinearAdapter(insertion="after", bottleneck=bottleneck, targets=("down",)))


def llm_adapters_parallel(bottleneck: int = 256) -> Architecture:
    """Adapters parallel to the inner linears of the FFN. Hu et al. 2304.01933."""
    return Architecture(
        LinearAdapter(insertion="parallel", bottleneck=bottleneck, targets=("up", "down"))
    )


def llm_adapters_lora(rank: int = 32, alpha: float = 64.0) -> Architecture:
    """LoRA in attention and FFN, its best place. Hu et al. 2304.01933."""
    targets = ("query", "key", "value", "up", "down")
    return Architecture(LoRA(rank=rank, alpha=alpha, targets=targets))


def compacter_plus_plus(bottleneck: int = 24, parts: int = 4) -> Architecture:
    """Compacter at the FFN alone. Karimi Mahabadi et al. 2106.04647."""
    return Architecture(Compacter(site="ffn", bottleneck=bottleneck, parts=parts))


def bitfit_subset() -> Architecture:
    """The biases of queries and of the FFN's first linear. Ben Zaken et al. 2106.10199."""
    return Architecture(BitFit(targets=("query", "up")))


def s4(
    anatomy: Anatomy,
    *,
    groups: Sequence[str] = ("AL", "AP", "APB", "PBL"),
    bottleneck: int = 48,
    length: int = 10,
    rank: int = 8,
) -> Architecture:
    """S4: four groups of layers in the form of a spindle, each with methods of its own.

    Groups of about 1/6, 1/3, 1/3 and 1/6 of the layers (our choice of the spindle). Default: the
    strategy found for T5-base. In a backbone of two stacks the groups run through both.
    Chen et al. 2301.01821.

    Args:
        anatomy: of a backbone of at least four layers.
        groups: letters of the methods of each group: Adapter, Prefix, BitFit, LoRA.
        bottleneck: width of adapters.
        length: of prefixes.
        rank: of LoRA.
    """
    check_anatomy(anatomy)
    layers_of = dict(zip("0123", _spindle(anatomy.n_layers), strict=True))
    if len(groups) != 4 or any(letter not in "APBL" for group in groups for letter in group):
        raise ValueError(
            f"S4 has four groups of the letters A, P, B and L, got {tuple(groups)}; name four"
        )
    where = {
        letter: tuple(
            layer
            for number, group in enumerate(groups)
            if letter in group
            for layer in layers_of[str(number)]
        )
        for letter in "APBL"
    }
    methods: list[Configurable] = [
        Adapter(bottleneck=bottleneck, layers=where["A"]),
        Prefix(length=length, layers=where["P"]),
        LoRA(rank=rank, layers=where["L"]),
    ]
    inner = tuple(name for name in anatomy.targets if _has_bias(anatomy, name))
    if where["B"] and inner:
        methods.append(BitFit(targets=inner, layers=where["B"]))
    return Architecture(*methods)


def noah(
    anatomy: Anatomy,
    *,
    adapter: int,
    adapter_layers: int,
    lora: int,
    lora_layers: int,
    prompt: int,
    prompt_layers: int,
) -> Architecture:
    """A point of NOAH: adapters, LoRA and deep prompts in the first layers, one size each.

    Zhang et al. 2206.04673, whose points have a size a layer: give ``ByLayer`` for that.

    Args:
        anatomy: of the backbone.
        adapter: bottleneck of the adapters; 0: none.
        adapter_layers: they are in the first so many layers.
        lora: rank; 0: none.
        lora_layers: likewise.
        prompt: length; 0: none.
        prompt_layers: likewise.
    """
    check_anatomy(anatomy)
    depths = (("adapter_layers", adapter_layers), ("lora_layers", lora_layers))
    for name, depth in (*depths, ("prompt_layers", prompt_layers)):
        _check_range(name, depth, anatomy.n_layers)
    return Architecture(
        Adapter(bottleneck=adapter, layers=tuple(range(adapter_layers))),
        LoRA(rank=lora, layers=tuple(range(lora_layers))),
        VPT(length=prompt, layers=tuple(range(prompt_layers))),
    )


def _spindle(n_layers: int) -> list[range]:
    """Four consecutive groups of layers, the outer ones about a sixth each."""
    if n_layers < 4:
        raise ValueError(f"S4 needs at least 4 layers for its groups, got {n_layers}; take more")
    outer = max(1, round(n_layers / 6))
    inner = n_layers - 2 * outer
    ends = [0, outer, outer + (inner + 1) // 2, n_layers - outer, n_layers]
    return [range(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def _has_bias(anatomy: Anatomy, target: str) -> bool:
    return any(
        site.bias
        for layer in range(anatomy.n_layers)
        for _, site in anatomy.linears_of(layer, (target,))
    )


def _check_range(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise ValueError(
            f"{name} must be from 0 to the {most} layers, got {value}; take {most} at the most"
        )
