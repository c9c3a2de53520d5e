"""A backbone of fake tensors: it has shapes and dtypes, but neither weights nor memory.

Fake tensors on the CPU take the kernels that real ones take (fused attention saves queries, keys,
values and its output, no probabilities); those on the meta device would take others. What a
backbone is called with is real, so masks and positions are computed as in any other call.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from peftnas.methods.anatomies.family import Family
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import PromptVectors
from peftnas.methods.costs import place
from peftnas.methods.describe import ConfigKey, describe, family_of
from peftnas.methods.reads import Reads, arguments_of
from peftnas.spaces.architecture import Architecture

LARGE = 1 << 24
"""Elements from which on what is computed of real tensors alone is made of shapes only."""


class LargeIsFake(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, no large tensor comes into being: masks of tokens by tokens.

    Small ones stay real, since models decide by their values (whether anything is padded).
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._mode = mode

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if any(isinstance(one, FakeTensor) for one in given) or func in _READS_VALUES:
            return func(*args, **kwargs)
        with self._mode:
            fake = func(*args, **kwargs)
        made = [one for one in tree_leaves(fake) if isinstance(one, Tensor)]
        return fake if any(one.numel() > LARGE for one in made) else func(*args, **kwargs)


_READS_VALUES = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
)


class FakeBackbone:
    """A base model of fake tensors on the CPU, frozen, in eval mode.

    One is shared by all who ask for its config: detach what was attached. Not for several threads.

    Attributes:
        base: the model.
        anatomy: its anatomy.
        layers: the module of each layer by its number.
        arguments: names of the arguments that the model takes.
    """

    def __init__(
        self, config: PreTrainedConfig, family: Family, attention: str | None, dtype: torch.dtype
    ) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        # not at once in the mode: some models read numbers off tensors while they are made (vit)
        with torch.device("meta"):
            model = AutoModel.from_config(  # type: ignore[no-untyped-call]
                config, dtype=dtype, attn_implementation=attention
            )
        with self._mode:
            model.to_empty(device="cpu")
        model.tie_weights()
        self.base: PreTrainedModel = model.base_model.eval().requires_grad_(False)
        self.anatomy: Anatomy = describe(self.base, family)
        self.layers: dict[int, nn.Module] = {
            number: self.base.get_submodule(site.path)
            for number, site in enumerate(self.anatomy.layers)
        }
        self.arguments = arguments_of(self.base)

    def call(self, reads: Reads, inputs: dict[str, Any]) -> Any:
        """What the model answers; ``inputs`` are real, and nothing large is computed of them."""
        if reads.batch * max(reads.tokens, reads.written) ** 2 <= LARGE:
            return self.base(**inputs)
        with LargeIsFake(self._mode):
            return self.base(**inputs)

    @property
    def decodes(self) -> bool:
        """Whether it gives word after word from a cache of keys and values."""
        return {"past_key_values", "use_cache"} <= self.arguments and self.anatomy.causal

    def attach(self, architecture: Architecture, dropout: float = 0.0) -> AttachedModules:
        """As ``methods.attach``, with modules of fake tensors; float32, as on a 16-bit backbone.

        Raises:
            ValueError: if a method names a site that the backbone lacks.
        """
        placements = place(architecture, self.anatomy)
        with self._mode:
            placed = [(part, part.build(torch.Generator())) for part in placements]
            return AttachedModules(self.base, self.anatomy, architecture, placed, dropout)

    def prompt_length(self, architecture: Architecture) -> int:
        """As ``AttachedModules.prompt_length``, without attaching.

        Raises:
            ValueError: if a method names a site that the backbone lacks.
        """
        entering = [
            part for part in place(architecture, self.anatomy) if getattr(part, "stack", None) == 0
        ]
        with self._mode:
            built = [part.build(torch.Generator()) for part in entering]
            return sum(len(prompt()) for prompt in built if isinstance(prompt, PromptVectors))


def fake_backbone(
    config: PreTrainedConfig, dtype: torch.dtype, family: Family | None = None
) -> FakeBackbone:
    """The fake backbone of a config, with the attention that the config asks for; cached.

    Raises:
        UnsupportedBackboneError: if no family describes it.
    """
    key = ConfigKey(config, family or family_of(config))
    return _cached(key, config._attn_implementation, dtype)


@functools.lru_cache(maxsize=8)
def _cached(key: ConfigKey, attention: str | None, dtype: torch.dtype) -> FakeBackbone:
    return FakeBackbone(key.config(), key.family, attention, dtype)
