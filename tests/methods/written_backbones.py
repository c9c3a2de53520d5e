"""Where the sites of three backbones are, written down by hand for written cases."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 16


@dataclass(frozen=True)
class Sub:
    """A sublayer: where h comes out, what reads x, and the norm around it (after it: ``post``)."""

    exit: str
    reads_x: str
    norm: str
    post: bool = False


@dataclass(frozen=True)
class Block:
    """One layer of a backbone by its paths; a linear may be a part of a fused one."""

    name: str
    path: str
    linears: dict[str, tuple[str, slice]]
    subs: dict[str, Sub]
    cores: dict[str, str]


ALL = slice(None)


def roberta(i: int) -> Block:
    here = f"encoder.layer.{i}"
    names = {"q": "query", "k": "key", "v": "value"}
    linears = {short: (f"{here}.attention.self.{name}", ALL) for short, name in names.items()}
    linears |= {"up": (f"{here}.intermediate.dense", ALL), "down": (f"{here}.output.dense", ALL)}
    attention = f"{here}.attention"
    subs = {
        "attn": Sub(f"{attention}.output.dense", attention, f"{attention}.output.LayerNorm", True),
        "ffn": Sub(
            f"{here}.output.dense", f"{here}.intermediate", f"{here}.output.LayerNorm", True
        ),
    }
    return Block(f"layer.{i}", here, linears, subs, {"self": f"{attention}.self"})


def gpt2(i: int) -> Block:
    here = f"h.{i}"
    linears = {
        short: (f"{here}.attn.c_attn", slice(part * WIDTH, (part + 1) * WIDTH))
        for part, short in enumerate("qkv")
    }
    linears |= {"up": (f"{here}.mlp.c_fc", ALL), "down": (f"{here}.mlp.c_proj", ALL)}
    subs = {
        "attn": Sub(f"{here}.attn", here, f"{here}.ln_1"),
        "ffn": Sub(f"{here}.mlp", f"{here}.ln_2", f"{here}.ln_2"),
    }
    return Block(f"layer.{i}", here, linears, subs, {"self": f"{here}.attn"})


def t5(stack: str, i: int) -> Block:
    here, name = f"{stack}.block.{i}", f"{stack}.layer.{i}"
    parts = {"self": (f"{here}.layer.0", "SelfAttention")}
    if stack == "decoder":
        parts["cross"] = (f"{here}.layer.1", "EncDecAttention")
    linears = {
        f"{kind}.{one}": (f"{path}.{module}.{one}", ALL)
        for kind, (path, module) in parts.items()
        for one in "qkv"
    }
    ffn = f"{here}.layer.{len(parts)}"
    linears |= {"up": (f"{ffn}.DenseReluDense.wi", ALL), "down": (f"{ffn}.DenseReluDense.wo", ALL)}
    path, module = parts["self"]
    subs = {
        "attn": Sub(f"{path}.{module}", path, f"{path}.layer_norm"),
        "ffn": Sub(f"{ffn}.DenseReluDense", ffn, f"{ffn}.layer_norm"),
    }
    cores = {kind: f"{path}.{module}" for kind, (path, module) in parts.items()}
    return Block(name, here, linears, subs, cores)


BLOCKS: dict[str, list[Block]] = {
    "roberta": [roberta(i) for i in range(3)],
    "gpt2": [gpt2(i) for i in range(3)],
    "t5": [t5(stack, i) for stack in ("encoder", "decoder") for i in range(2)],
}
