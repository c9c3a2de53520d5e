"""Attach an architecture to a model, and take it off again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.arms import Arms, arms_of
from peftnas.methods.backbone_parameters import backbone_parameters
from peftnas.methods.base import Method, Placement
from peftnas.methods.call import Call, Mode
from peftnas.methods.canonical import in_order
from peftnas.methods.checks import check_dropout, check_fits, check_model, check_seed, named
from peftnas.methods.costs import place
from peftnas.methods.describe import describe
from peftnas.methods.folding import keep_folded
from peftnas.methods.full import WholeBackbone
from peftnas.methods.handles import forget, remember
from peftnas.methods.hooks import Hooks, Placed, is_attached
from peftnas.methods.lanes import Lane
from peftnas.methods.merge import Merged, Merger
from peftnas.methods.starts import start_from_backbone
from peftnas.methods.training import TrainingSteps
from peftnas.spaces.architecture import Architecture, as_architecture


class AttachedModules(nn.Module):
    """The trainable modules of an architecture while it is attached to a model.

    ``parameters()`` and ``state_dict()`` hold these modules alone, named by their site:
    ``layers[3].attention.query.lora.A``. ``train()`` and ``eval()`` switch their dropout; the
    backbone has its own mode.

    Attributes:
        architecture: what is attached.
        anatomy: of the backbone.
        placed: every placement with its module.
        steps: what modules do around each training step; whoever trains them calls it.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        anatomy: Anatomy,
        architecture: Architecture | Method,
        placed: Sequence[Placed],
        dropout: float,
        model: PreTrainedModel | None = None,
        lane: Lane | None = None,
    ) -> None:
        super().__init__()
        self.architecture = as_architecture(architecture)
        self.anatomy = anatomy
        self.placed = tuple(placed)
        self._mode = Mode(dropout=dropout)
        self._hooks = Hooks(base, anatomy, placed, self._mode, model, lane)
        self._flags = [(one, one.requires_grad) for one in backbone_parameters(base).values()]
        for parameter, _ in self._flags:
            parameter.requires_grad_(False)
        for _, module in placed:
            if isinstance(module, WholeBackbone):
                module.adopt(base)
        for placement, module in placed:
            _register(self, placement, module)
        self.steps = TrainingSteps([module for _, module in placed])
        self._merger: Merger | None = None
        self._attached = True
        if lane is None:  # else all of them have one handle
            remember(base, self)

    @property
    def base(self) -> PreTrainedModel:
        """The base model that they are attached to."""
        return self._hooks.base

    @property
    def model(self) -> PreTrainedModel:
        """The model that was given to ``attach``, with its task head where it has one."""
        return self._hooks.model

    @property
    def sites(self) -> tuple[str, ...]:
        """Addresses of the changed places, each once, in the order of the architecture."""
        return tuple(dict.fromkeys(placement.site for placement, _ in self.placed))

    @property
    def count(self) -> int:
        """Elements that are trained, counted on the modules themselves."""
        return sum(parameter.numel() for parameter in self.parameters())

    def trainable(self, model: PreTrainedModel) -> list[nn.Parameter]:
        """What a fine-tune trains: these modules and the task head of a model, each once.

        ``model.parameters()`` alone lacks the modules, which are no part of the model's tree.

        Args:
            model: the one they are attached to, head included.
        """
        check_model(model)
        if model.base_model is not self.base:
            raise ValueError(
                "trainable takes the model that these modules are attached to, got another "
                f"{type(model).__name__}; pass that one"
            )
        left = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return list(dict.fromkeys([*self.parameters(), *left]))

    def rates(self) -> dict[nn.Parameter, float]:
        """Parameters whose learning rate is another, and how many times that of the others."""
        found: dict[nn.Parameter, float] = {}
        for _, module in self.placed:
            named = dict(module.named_parameters())
            for name, rate in getattr(module, "rates", {}).items():
                if rate != 1:
                    found[named[name]] = rate
        return found

    def arms(self) -> Arms:
        """Parameters of methods with training settings of their own, and these settings.

        Whoever trains gives them groups of their own in its optimiser; see docs/python.md.
        """
        return arms_of(self.architecture, self.anatomy, self.placed)

    @property
    def prompt_length(self) -> int:
        """Positions that prompts add to every sequence that the first stack reads."""
        return self._hooks.stacks[0].length

    @property
    def is_merged(self) -> bool:
        """Whether what can be merged is in the backbone's weights now."""
        return self._merger is not None

    def call(self, stack: int) -> Call:
        """State of the running pass of a stack."""
        return self._hooks.calls[stack]

    def real(self, hidden: Tensor) -> Tensor:
        """The model's output (B, l + T, ...) at real positions only, (B, T, ...)."""
        return self._hooks.stacks[-1].real(hidden)

    def at(self, site: str, kind: str) -> nn.Module:
        """The (first) module of a kind at a site; ``KeyError`` if there is none."""
        for placement, module in self.placed:
            if placement.site == site and placement.kind == kind:
                return module
        raise KeyError(f"no {kind!r} at {site!r}; attached at {', '.join(self.sites)}")

    def train(self, mode: bool = True) -> Self:
        """Training mode (dropout on what modules read) or not."""
        self._mode.training = mode
        return super().train(mode)

    def merge(self) -> Merged:
        """Fold what is a constant change of weights into the backbone; again: no effect.

        Networks that are needed in training only (of prefixes and prompts) run once from now on.

        Returns:
            What was folded, and what still runs as a module (gated deltas, adapters, prefixes,
            prompts).
        """
        self._check_attached("merge")
        if self._hooks.lane is not None:
            raise RuntimeError(
                "architectures side by side share the weights, so none can be merged into them; "
                "attach it alone"
            )
        if self._merger is None:
            self._merger = Merger(self._hooks, self.placed)
            keep_folded(self, True)
        return self._merger.report

    def unmerge(self) -> None:
        """Undo :meth:`merge`; the backbone's weights are again what they were, bit for bit."""
        if self._merger is not None:
            self._merger.undo()
            self._merger = None
            keep_folded(self, False)

    def detach(self) -> None:
        """Take everything off: the backbone is bit for bit what it was; again: no effect.

        The modules keep their trained values, so the state can still be read and saved.
        """
        if not self._attached:
            return
        self.unmerge()
        self._hooks.remove()
        if self._hooks.lane is None:
            forget(self.base)
        for _, module in self.placed:
            if isinstance(module, WholeBackbone):
                module.release()
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
        self._flags = []
        for call in self._hooks.calls:
            call.tokens = None
        self._attached = False

    def save(self, folder: str | Path) -> None:
        """Write tensors and architecture into a folder; see :mod:`peftnas.methods.saving`."""
        from peftnas.methods.saving import save

        save(self, folder)

    def _check_attached(self, what: str) -> None:
        if not self._attached:
            raise RuntimeError(f"{what} needs attached modules, these are detached; attach again")


def attach(
    model: PreTrainedModel,
    architecture: Architecture | Method,
    *,
    seed: int = 0,
    anatomy: Anatomy | None = None,
    dropout: float = 0.0,
) -> AttachedModules:
    """Attach an architecture to a model: freezes the backbone, adds trainable modules by hooks.

    Module tree and state dict of the model stay as they are; a task head is not touched, nor is
    its ``requires_grad``. Modules lie on the backbone's device in its dtype, in float32 where that
    has 16 bits (they compute in the backbone's dtype). ``model.parameters()`` does not hold them:
    give an optimiser ``attached.trainable(model)``. See docs/python.md.

    Args:
        model: a transformers model, with or without a task head.
        architecture: methods holding values, or one such method; none, or all of them absent (a
            size of 0, no layers, no targets): nothing is added, the backbone is frozen, ``count``
            is 0.
        seed: of the initial values, from 0 on; each module draws from its own generator, whatever
            else is attached.
        anatomy: of this model, if it has been described already.
        dropout: probability in [0, 1) of dropout on what LoRA and adapters read, in training.
    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if a method names a site that the backbone lacks, the anatomy is that of
            another backbone, or the model already carries an architecture.
    """
    base = base_of(model)
    check_free(base, dropout)
    anatomy = describe(model) if anatomy is None else anatomy
    placed = build_placed(base, anatomy, architecture, seed)
    return AttachedModules(base, anatomy, architecture, placed, dropout, model)


def check_attached(attached: AttachedModules, caller: str) -> None:
    """Raise ``TypeError`` unless it is what ``attach`` returned."""
    if not isinstance(attached, AttachedModules):
        raise TypeError(
            f"{caller} takes what attach returned, got {named(attached)}; "
            "attach the architecture to a model first"
        )


def check_free(base: PreTrainedModel, dropout: float) -> None:
    """Raise ``ValueError`` if a model carries an architecture, or dropout is no probability."""
    if is_attached(base):
        raise ValueError(
            "one architecture at a time can be attached to a model, and one is; detach it first "
            "(attached_to(model).detach()), or attach one Architecture that holds the methods of "
            "both"
        )
    check_dropout(dropout)


def build_placed(
    base: PreTrainedModel, anatomy: Anatomy, architecture: Architecture | Method, seed: int
) -> list[Placed]:
    """Placements of an architecture with their modules, on the device of a model."""
    check_seed(seed)
    placements = in_order(place(architecture, anatomy))
    check_fits(anatomy, base)
    like = next(parameter for parameter in base.parameters() if parameter.is_floating_point())
    dtype = torch.float32 if like.dtype.itemsize < 4 else like.dtype
    placed = [
        (placement, placement.build(generator).to(like.device, dtype))
        for placement, generator in zip(placements, _generators(placements, seed), strict=True)
    ]
    start_from_backbone(base, anatomy, placed)
    return placed


def base_of(model: PreTrainedModel) -> PreTrainedModel:
    """The base model of a transformers model, with or without a task head."""
    check_model(model)
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    return base


def _generators(placements: Sequence[Placement], seed: int) -> list[torch.Generator]:
    """One generator for each module, by what and where it is, not by its place in the list."""
    names = [json.dumps(placement.identity(), sort_keys=True) for placement in placements]
    alike: dict[tuple[str, str], list[str]] = {}
    for placement, name in zip(placements, names, strict=True):
        alike.setdefault((placement.site, placement.kind), []).append(name)
    used: dict[tuple[str, str], int] = {}
    generators = []
    for placement, name in zip(placements, names, strict=True):
        twins = used.setdefault((placement.site, name), 0)
        used[placement.site, name] += 1
        index = sorted(alike[placement.site, placement.kind]).index(name) + twins
        text = f"{seed}|{placement.site}|{placement.kind}|{index}"
        digest = hashlib.sha256(text.encode()).digest()
        generators.append(torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))
    return generators


def _register(root: nn.Module, placement: Placement, module: nn.Module) -> None:
    """Put a module into the tree under its site and kind (lora, lora2, ...)."""
    node = root
    for part in placement.site.split("."):
        if part not in dict(node.named_children()):
            node.add_module(part, nn.Module())
        node = node.get_submodule(part)
    name, number = placement.kind, 2
    while name in dict(node.named_children()):
        name, number = f"{placement.kind}{number}", number + 1
    node.add_module(name, module)
