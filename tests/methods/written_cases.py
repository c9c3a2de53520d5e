"""Cases in the format of the reference vectors, computed by plain hooks on plain transformers.

Nothing here knows our modules or anatomies: equations are those of ``vectors/README.md``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, relu, silu
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from tests.methods.conftest import build
from tests.methods.written_backbones import BLOCKS, WIDTH, Sub

RANK, LENGTH, BOTTLENECK = 4, 3, 4
Named = dict[str, Tensor]


DRAWS = torch.Generator().manual_seed(5)


def drawn(*shape: int, scale: float = 0.5) -> Tensor:
    return (scale * torch.randn(shape, generator=DRAWS)).requires_grad_()


class Writer:
    """Hooks of one case on a model, and the tensors that they read, by their names in a file."""

    def __init__(self, name: str) -> None:
        self.model: PreTrainedModel = build(name, "eager")
        self.blocks = BLOCKS[name]
        self.tensors: Named = {}
        self.mask: Tensor | None = None

    def make(self, name: str, *shape: int) -> Tensor:
        self.tensors[name] = drawn(*shape)
        return self.tensors[name]

    def after(self, path: str, change: Callable[[Tensor], Tensor]) -> None:
        """Change what a module gives, or the first thing that it gives."""

        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

        self.model.get_submodule(path).register_forward_hook(hook)

    def input_of(self, path: str) -> list[Tensor]:
        """A list that holds what a module read last."""
        read: list[Tensor] = []

        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            read[:] = [args[0] if args else kwargs["hidden_states"]]

        self.model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)
        return read

    def linears(self, names: tuple[str, ...]) -> Iterator[tuple[str, str, slice, int, int]]:
        """Name in a file, path, rows, n_in and n_out of the named linears of all layers."""
        for block in self.blocks:
            for short, (path, rows) in block.linears.items():
                if short.split(".")[-1] in names:
                    module = self.model.get_submodule(path)
                    weight = module.weight if isinstance(module, nn.Linear) else module.weight.T
                    n_out, n_in = weight[rows].shape
                    yield f"{block.name}.{short}", path, rows, n_in, n_out

    def lora(self, names: tuple[str, ...], scale: float) -> None:
        for name, path, rows, n_in, n_out in self.linears(names):
            a, b = (
                self.make(f"{name}.lora_A", RANK, n_in),
                self.make(f"{name}.lora_B", n_out, RANK),
            )
            x = self.input_of(path)

            def change(y: Tensor, x=x, a=a, b=b, rows=rows) -> Tensor:
                y = y.clone()
                y[..., rows] = y[..., rows] + scale * linear(linear(x[0], a), b)
                return y

            self.after(path, change)

    def ia3(self, names: tuple[str, ...]) -> None:
        for name, path, rows, _, n_out in self.linears(names):
            value = self.make(f"{name}.ia3", n_out, 1)

            def change(y: Tensor, value=value, rows=rows) -> Tensor:
                y = y.clone()
                y[..., rows] = y[..., rows].clone() * value[:, 0]
                return y

            self.after(path, change)

    def adapters(self, places: tuple[str, ...], form: str, act: Any, scale: float = 1.0) -> None:
        for name, sub in self.sites(places):
            d, bd = (
                self.make(f"{name}.down.weight", BOTTLENECK, WIDTH),
                self.make(f"{name}.down.bias", BOTTLENECK),
            )
            u, bu = (
                self.make(f"{name}.up.weight", WIDTH, BOTTLENECK),
                self.make(f"{name}.up.bias", WIDTH),
            )

            def of(z: Tensor, d=d, bd=bd, u=u, bu=bu) -> Tensor:
                return scale * linear(act(linear(z, d, bd)), u, bu)

            self.beside(sub, form, of)

    def compacter(self, places: tuple[str, ...], n: int = 2) -> None:
        rule = self.make("phm_rule", n, n, n)

        def matrix(name: str, n_in: int, n_out: int) -> Callable[[Tensor], Tensor]:
            left, right = (
                self.make(f"{name}.W_left", n, n_in // n, 1),
                self.make(f"{name}.W_right", n, 1, n_out // n),
            )
            b = self.make(f"{name}.b", n_out)
            return lambda z: z @ sum(map(torch.kron, rule, left @ right)) + b

        for name, sub in self.sites(places):
            down = matrix(f"{name}.down", WIDTH, BOTTLENECK)
            up = matrix(f"{name}.up", BOTTLENECK, WIDTH)
            self.beside(sub, "houlsby", lambda z, down=down, up=up: up(gelu(down(z))))

    def sites(self, places: tuple[str, ...]) -> Iterator[tuple[str, Sub]]:
        for block in self.blocks:
            for place in places:
                yield f"{block.name}.{place}.bottleneck", block.subs[place]

    def beside(self, sub: Sub, form: str, of: Callable[[Tensor], Tensor]) -> None:
        """Add A(h), A(z) or A(x) to h, as in the table of the README."""
        x = self.input_of(sub.reads_x)
        norm = self.model.get_submodule(sub.norm)

        def change(h: Tensor) -> Tensor:
            whole = h + x[0]
            read = {"houlsby": h, "parallel": x[0], "pfeiffer": norm(whole) if sub.post else whole}
            return h + of(read[form])

        self.after(sub.exit, change)

    def reft(self, subtract: bool) -> None:
        for block in self.blocks:
            units = [
                [
                    self.make(f"{block.name}.reft.{group}.{part}", *shape)
                    for part, shape in (
                        ("source.weight", (2, WIDTH)),
                        ("source.bias", (2,)),
                        ("projection.weight", (2, WIDTH)),
                    )
                ]
                for group in ("prefix", "suffix")
            ]
            decoder = block.name.startswith("decoder")

            def change(h: Tensor, units=units, decoder=decoder) -> Tensor:
                out = h.clone()
                for row in range(len(h)):
                    real = (
                        h.shape[1] if decoder or self.mask is None else int(self.mask[row].sum())
                    )
                    for (w, b, r), places in zip(units, ([0, 1], [real - 1]), strict=True):
                        z = h[row, places]
                        edit = linear(z, w, b) - (linear(z, r) if subtract else 0)
                        out[row, places] = z + edit @ r
                return out

            self.after(block.path, change)

    def prefix(self, mlp: int | None) -> None:
        """Prefixes of each kind of attention; flat, or by one MLP a kind."""
        self.model.set_attn_implementation(PLAIN)
        config = self.model.config
        heads = config.num_attention_heads
        width = getattr(config, "d_kv", WIDTH // heads)
        kinds: dict[str, list[str]] = {}
        for block in self.blocks:
            for kind, path in block.cores.items():
                here = "encoder" if block.name.startswith("encoder") else kind
                kinds.setdefault(here, []).append(path)
        for kind, paths in kinds.items():
            numbers = 2 * len(paths) * heads * width
            if mlp is None:
                whole = self.make(f"prefix.{kind}.flat", LENGTH, numbers)
            else:
                shapes = {
                    **{"embedding": (LENGTH, WIDTH), "mlp_in.weight": (mlp, WIDTH)},
                    **{"mlp_in.bias": (mlp,), "mlp_out.weight": (numbers, mlp)},
                    **{"mlp_out.bias": (numbers,)},
                }
                e, w, b, u, c = (
                    self.make(f"prefix.{kind}.{part}", *shape) for part, shape in shapes.items()
                )
                whole = linear(torch.tanh(linear(e, w, b)), u, c)
            rows = whole.view(LENGTH, 2 * len(paths), heads, width).transpose(0, 2)
            for i, path in enumerate(paths):
                core = self.model.get_submodule(path)
                core.written_prefix = (rows[:, 2 * i], rows[:, 2 * i + 1])


PLAIN = "written_with_a_prefix"


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any
) -> tuple[Tensor, None]:
    """softmax(q [P_k; K] / scale + bias + mask) [P_v; V]; bias and mask of a prefix are 0."""
    scale = more.get("scaling") or query.shape[-1] ** -0.5
    logits = scale * query @ key.transpose(2, 3)
    for one in (mask, more.get("position_bias")):
        if one is not None:
            logits = logits + one
    front, behind = (part.expand(len(query), -1, -1, -1) for part in module.written_prefix)
    logits = torch.cat([scale * query @ front.transpose(2, 3), logits], dim=-1)
    return (logits.softmax(-1) @ torch.cat([behind, value], dim=2)).transpose(1, 2), None


AttentionInterface.register(PLAIN, attend)
AttentionMaskInterface.register(PLAIN, eager_mask)

# method -> the case of the stored vectors whose config it takes, what is other in it, the hooks
METHODS: dict[str, tuple[str, dict[str, Any], Callable[[Writer], None]]] = {
    "lora_qv": ("lora_qv", {}, lambda to: to.lora(("q", "v"), 2.0)),
    "lora_all": ("lora_all", {}, lambda to: to.lora(("q", "k", "v", "up", "down"), 2.0)),
    "ia3": ("ia3", {}, lambda to: to.ia3(("k", "v", "up"))),
    "seq_bn": (
        "seq_bn",
        {"reduction_factor": 4},
        lambda to: to.adapters(("ffn",), "pfeiffer", relu),
    ),
    "double_seq_bn": (
        "double_seq_bn",
        {"reduction_factor": 4},
        lambda to: to.adapters(("attn", "ffn"), "houlsby", silu),
    ),
    "par_bn": (
        "par_bn",
        {"reduction_factor": 4},
        lambda to: to.adapters(("ffn",), "parallel", relu, 4.0),
    ),
    "compacter": (
        "compacter",
        {"reduction_factor": 4, "phm_dim": 2},
        lambda to: to.compacter(("attn", "ffn")),
    ),
    "noreft": ("noreft", {}, lambda to: to.reft(True)),
    "direft": ("direft", {}, lambda to: to.reft(False)),
    "prefix_flat": ("prefix_flat", {"prefix_length": LENGTH}, lambda to: to.prefix(None)),
    "prefix_mlp": ("prefix_mlp", {"prefix_length": LENGTH}, lambda to: to.prefix(6)),
}


def write_case(
    folder: Path, backbone: str, method: str, inputs: Named, like: dict[str, Any], **fields: Any
) -> None:
    """Write ``index.json`` with one case, its tensors and its backbone.

    Args:
        folder: empty.
        backbone: a key of ``BLOCKS``.
        method: a key of ``METHODS``.
        inputs: of the variant "pad".
        like: stored case whose library config it takes.
        fields: other fields of the case.
    """
    writer = Writer(backbone)
    path = folder / "backbones" / backbone
    writer.model.save_pretrained(path)
    METHODS[method][2](writer)
    writer.mask = inputs.get("attention_mask")
    found = writer.model(**inputs)
    outputs = ["last_hidden_state"]
    outputs += ["encoder_last_hidden_state"] if backbone == "t5" else []
    stored: Named = {f"adapter/{name}": value for name, value in writer.tensors.items()}
    stored |= {f"pad/{name}": value for name, value in inputs.items()}
    loss = torch.zeros(())
    for name in outputs:
        weight = torch.randn(found[name].shape, generator=DRAWS)
        if name.startswith("encoder") or backbone != "t5":
            weight = weight * inputs["attention_mask"][:, :, None]
        loss = loss + (found[name] * weight).sum()
        stored |= {f"pad/out/{name}": found[name], f"pad/loss_weight/{name}": weight}
    gradients = torch.autograd.grad(loss, list(writer.tensors.values()))
    stored |= {
        f"pad/grad/{name}": gradient
        for name, gradient in zip(writer.tensors, gradients, strict=True)
    }
    stored["pad/loss"] = loss[None]
    file = f"cases/{method}.safetensors"
    (folder / "cases").mkdir()
    plain = {name: value.detach().clone().contiguous() for name, value in stored.items()}
    save_file(plain, folder / file)
    case = copy.deepcopy(like) | {
        **{"name": f"{backbone}/{method}", "backbone": backbone, "file": file},
        **{"variants": ["pad"], "outputs": outputs},
        "parameters": sum(value.numel() for value in writer.tensors.values()),
    }
    case["library_config"] |= METHODS[method][1]
    del case["library_patched"]
    index = {
        "backbones": {backbone: {"folder": f"backbones/{backbone}", "attention": "eager"}},
        "cases": [case | fields],
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
