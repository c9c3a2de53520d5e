"""Whether the paths of a family's literal are there in a model, each told with the nearest one."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn
from transformers import PreTrainedConfig

from peftnas.methods.anatomies.family import Family, Fused, Positions, Stack, Tap
from peftnas.methods.places import INNER_NORMS, OUTER_NORMS

ATTRIBUTE = "name of an attribute of the config"
LAYER = re.compile(r"\.\d+(\.|$)")


class UnsupportedBackboneError(ValueError):
    """No family describes the backbone."""


def check_not_quantised(module: nn.Module, path: str) -> None:
    """Raise ``UnsupportedBackboneError`` for a linear whose weight is in whole numbers."""
    weight = getattr(module, "weight", None)
    packed = isinstance(weight, Tensor) and not weight.is_floating_point()
    if packed or "quantized" in type(module).__module__:
        raise UnsupportedBackboneError(
            f"backbones of quantised weights are not supported, got a {type(module).__module__}."
            f"{type(module).__name__} at {path!r}; load the backbone in float32 or bfloat16"
        )


def check_family_fits(
    base: nn.Module, config: PreTrainedConfig, family: Family, stacks: Iterable[Stack]
) -> None:
    """Check a literal against a model.

    Args:
        base: the base model; its parameters may lie on the meta device.
        config: of the model.
        family: that is said to describe it.
        stacks: those of the family that the model has.
    Raises:
        UnsupportedBackboneError: with the field, what it names, and the nearest that there is.
    """
    if config.model_type not in family.model_types:
        raise UnsupportedBackboneError(
            f"family {family.name!r} does not fit this {type(base).__name__}: it describes model "
            f"types {', '.join(family.model_types)}, got {config.model_type!r}; take the model's "
            "own family, or add the type"
        )
    for stack in stacks:
        title = f" of stack {stack.name!r}" if stack.name else ""
        for misfit in StackFit(base, config, stack, family.positions).misfits():
            raise UnsupportedBackboneError(
                f"family {family.name!r} does not fit this {type(base).__name__}: "
                f"{misfit}{title}; correct the literal"
            )


class StackFit:
    """One stack of a literal beside a model."""

    def __init__(
        self, base: nn.Module, config: PreTrainedConfig, stack: Stack, positions: Positions
    ) -> None:
        self._config = config
        self._positions = positions
        self._stack = stack
        self._modules = dict(base.named_modules())

    def misfits(self) -> Iterator[str]:
        """Everything that does not fit, from the outside in; later ones may follow from it."""
        stack = self._stack
        yield from self._attributes()
        rotary = [path for path in self._modules if "rotary" in path.rpartition(".")[2]]
        if rotary and self._positions in ("learned", "none"):
            yield (
                f"positions must be 'rotary', since there is {rotary[0]!r}, got "
                f"{self._positions!r}"
            )
        yield from self._path("entry", stack.entry)
        layers = list(self._layers())
        if not layers:
            lists = self._of(nn.ModuleList)
            yield _absent("layers", stack.layers, lists, "path of a list of modules")
        for name in ("embeddings", "word_embeddings", "patches"):
            there = self._of(nn.Embedding) if name == "word_embeddings" else None
            yield from self._path(name, getattr(stack, name), there=there)
        for field_name in ("outer_linears", "outer_norms"):
            for name, path in getattr(stack, field_name).items():
                if name not in stack.optional:
                    yield from self._path(f"{field_name}[{name!r}]", path)
        yield from _unknown("outer_norms", stack.outer_norms, OUTER_NORMS)
        yield from _unknown("inner_norms", stack.inner_norms, INNER_NORMS)
        for layer in layers:
            yield from self._layer(layer)

    def _attributes(self) -> Iterator[str]:
        """The attributes of the config that it names."""
        stack, config = self._stack, self._config
        if stack.config and not hasattr(config, stack.config):
            there = [name for name in config.to_dict() if name.endswith("_config")]
            yield _absent("config", stack.config, there, ATTRIBUTE)
            return
        config = getattr(config, stack.config) if stack.config else config
        if stack.heads is not None and not hasattr(config, stack.heads):
            there = [name for name in config.to_dict() if "head" in name]
            yield _absent("heads", stack.heads, there, ATTRIBUTE)

    def _layers(self) -> Iterator[str]:
        """Paths of its layers; see ``Stack.layers``."""
        outer, star, inner = self._stack.layers.partition(".*.")
        lists = self._children(outer)
        for path in [f"{one}.{inner}" for one in lists] if star else [outer]:
            yield from self._children(path)

    def _children(self, path: str) -> list[str]:
        module = self._modules.get(path)
        names = [] if module is None else [name for name, _ in module.named_children()]
        return [f"{path}.{name}" for name in names]

    def _layer(self, layer: str) -> Iterator[str]:
        stack = self._stack
        for name, where in stack.linears.items():
            path = where.path if isinstance(where, Fused) else where
            yield from self._path(f"linears[{name!r}]", path, layer)
            if isinstance(where, Fused):
                yield from self._parts(name, where, layer)
        for name, path in stack.inner_norms.items():
            if name not in stack.optional:
                yield from self._path(f"inner_norms[{name!r}]", path, layer)
        for name, paths in stack.sublayers.items():
            field_name = f"sublayers[{name!r}]"
            yield from self._path(f"{field_name}.exit", paths.exit, layer)
            yield from self._path(f"{field_name}.norm", paths.norm, layer)
            yield from self._path(f"{field_name}.residual", paths.residual.module, layer)
            yield from self._tap(f"{field_name}.residual", paths.residual, layer)
            yield from self._path(f"{field_name}.core", paths.core, layer)
            if paths.core is not None:
                yield from self._core(name, paths.core, layer)

    def _core(self, name: str, core: str, layer: str) -> Iterator[str]:
        """Whether a module can be the one that calls the attention function."""
        module = self._modules[f"{layer}.{core}"]
        taken = inspect.signature(module.forward).parameters.values()
        hands_down = any(one.kind is one.VAR_KEYWORD for one in taken)
        if not hasattr(module, "config") or not hands_down:
            yield (
                f"sublayers[{name!r}].core must be the module that calls the attention function, "
                "which has a config and hands keywords (**kwargs) down to it, got "
                f"{core!r}; or None, where no prefix can enter"
            )
        causal = self._stack.causal or getattr(self._config, "is_decoder", False)
        if name == "attention" and getattr(module, "is_causal", False) is True and not causal:
            yield f"causal must be True, since {core!r} says is_causal, got False"

    def _of(self, kind: type[nn.Module]) -> list[str]:
        """Paths of the modules of a class."""
        return [path for path, module in self._modules.items() if isinstance(module, kind)]

    def _path(
        self,
        field_name: str,
        path: str | None,
        inside: str = "",
        there: Sequence[str] | None = None,
    ) -> Iterator[str]:
        """Whether a module is there; paths inside a layer are relative to it."""
        before = f"{inside}." if inside else ""
        if path is None or f"{before}{path}" in self._modules:
            return
        if there is None:
            there = [
                name[len(before) :]
                for name in self._modules
                if name.startswith(before) and (inside or not LAYER.search(name))
            ]
        yield _absent(field_name, path, there, "path of a module")

    def _tap(self, field_name: str, tap: Tap, layer: str) -> Iterator[str]:
        """Whether the module takes the argument at that place."""
        parameters = inspect.signature(self._modules[f"{layer}.{tap.module}"].forward).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        names = [
            name
            for name, parameter in parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        if names[tap.index : tap.index + 1] == [tap.name]:
            return
        if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
            if tap.name not in names and tap.index >= len(names):
                return  # among those that it does not name
        right = " or ".join(
            f"Tap({tap.module!r}, {number}, {name!r})" for number, name in enumerate(names)
        )
        yield f"{field_name} must be an argument that {tap.module} takes, {right}, got {tap}"

    def _parts(self, name: str, where: Fused, layer: str) -> Iterator[str]:
        """Whether the outputs of a fused projection fall into its parts."""
        weight = self._modules[f"{layer}.{where.path}"].get_parameter("weight")
        if max(weight.shape) % where.parts:
            yield (
                f"linears[{name!r}] must have parts that divide the outputs of {where.path} "
                f"(weight {tuple(weight.shape)}), got parts={where.parts}"
            )


def _absent(field_name: str, value: str, there: Sequence[str], what: str) -> str:
    """What is said of a name that is not there: those like it, else the outermost ones."""
    found = difflib.get_close_matches(value, there, n=2, cutoff=0.55)
    found = found or [name for name in there if name and "." not in name][:6] or list(there[:6])
    such = f", such as {', '.join(map(repr, found))}" if found else ""
    return f"{field_name} must be the {what} that is there{such}, got {value!r}"


def _unknown(field_name: str, names: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"a name in {field_name} must be one of {', '.join(known)}, got {name!r}"
