"""The composition rule: several modules at one place, written out."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import IA3, Adapter, Architecture, BitFit, LoRA, attach


def test_at_a_linear(build_backbone, disturb):
    model = build_backbone("bert")
    architecture = Architecture(
        IA3(targets=("key",)),
        IA3(targets=("key",)),
        BitFit(targets=("key",)),
        LoRA(rank=2, alpha=3, targets=("key",)),
        LoRA(rank=1, targets=("key",), gate="unipelt"),
    )
    attached = attach(model, architecture)
    disturb(attached)
    site = "layers[1].attention.key"
    scales = [m for p, m in attached.placed if p.site == site and p.kind == "ia3"]
    loras = [m for p, m in attached.placed if p.site == site and p.kind == "lora"]
    bias = attached.at(site, "bitfit")
    linear = model.get_submodule(attached.anatomy.linears[site].path)
    x = torch.randn(2, 5, 16)
    plain, gated = loras
    gate = torch.sigmoid(x @ gated.gate.weight.T + gated.gate.bias).mean(1, keepdim=True)
    total = (
        x @ linear.weight.T
        + linear.bias
        + bias.value
        + 1.5 * x @ plain.A.T @ plain.B.T
        + gate * (x @ gated.A.T @ gated.B.T)
    )
    expected = total * scales[0].value * scales[1].value
    assert_close(linear(x), expected)
    report = attached.merge()
    assert f"{site}: bitfit" in report.merged
    # the gated delta still runs and must be scaled with the rest
    assert report.remaining.count(f"{site}: lora") == 1
    assert report.remaining.count(f"{site}: ia3") == 2
    assert_close(linear(x), expected)


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama"])
@pytest.mark.parametrize("sublayer", ["attention", "ffn"])
def test_at_a_sublayer(name, sublayer, build_backbone, batch, disturb):
    """Each adapter reads what it would read alone, and all are added to one residual."""
    model = build_backbone(name)
    methods = [
        Adapter(site=sublayer, placement="houlsby", bottleneck=2),
        Adapter(site=sublayer, placement="after_ln", bottleneck=3),
        Adapter(site=sublayer, insertion="parallel", parallel_input="residual", bottleneck=4),
        Adapter(site=sublayer, insertion="parallel", bottleneck=5),
    ]
    if sublayer == "ffn":
        methods.append(Adapter(site="ffn", placement="pfeiffer", bottleneck=6))
    attached = attach(model, Architecture(*(m.replace(layers=(1,)) for m in methods)))
    disturb(attached)
    by_size = {module.placement.bottleneck: module for _, module in attached.placed}
    site = attached.anatomy.sublayer(1, sublayer)
    norm = model.get_submodule(site.norm)
    seen = {}
    block = model.get_submodule(site.norm.split(".1.")[0])[1]
    handles = [block.register_forward_pre_hook(lambda m, args: seen.update(x=args[0]))]
    ffn_norm = model.get_submodule(attached.anatomy.sublayer(1, "ffn").norm)
    attention_norm = model.get_submodule(attached.anatomy.sublayer(1, "attention").norm)
    after = {"attention": attention_norm, "ffn": ffn_norm}[sublayer]
    post = attached.anatomy.norm_order == "post"
    if post:
        handles.append(after.register_forward_hook(lambda m, args, out: seen.update(y=out)))
        if sublayer == "ffn":
            handles.append(
                attention_norm.register_forward_hook(lambda m, args, out: seen.update(x=out))
            )
    elif sublayer == "attention":
        handles.append(ffn_norm.register_forward_pre_hook(lambda m, args: seen.update(y=args[0])))
    else:
        handles.append(ffn_norm.register_forward_pre_hook(lambda m, args: seen.update(x=args[0])))
        handles.append(block.register_forward_hook(lambda m, args, out: seen.update(y=out)))
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    attached.detach()
    with torch.no_grad():
        bare = _bare_output(model, name, sublayer, block, seen["x"], batch)
        x = seen["x"]
        total = bare + x
        deltas = by_size[2](bare, None) + by_size[4](x, None)
        deltas = deltas + by_size[5](x if post else norm(x), None)
        if sublayer == "ffn":
            deltas = deltas + by_size[6](norm(total) if post else total, None)
        if post:
            expected = norm(total + deltas) + by_size[3](norm(total), None)
        else:
            expected = total + deltas + by_size[3](total, None)
    real = batch["attention_mask"].bool()
    assert_close(seen["y"][real], expected[real], atol=1e-4, rtol=1e-4)


def _bare_output(model, name, sublayer, block, x, batch):
    """h = F(x) of the frozen sublayer on the stream ``x``."""
    mask = batch["attention_mask"].bool()[:, None, None, :]
    if sublayer == "attention":
        if name == "llama":
            steps = x.shape[1]
            causal = torch.ones(steps, steps, dtype=torch.bool).tril()
            positions = torch.arange(steps)[None]
            rotary = model.rotary_emb(x, position_ids=positions)
            normed = block.input_layernorm(x)
            return block.self_attn(
                normed, position_embeddings=rotary, attention_mask=mask & causal
            )[0]
        if name == "bert":
            core = block.attention.self(x, attention_mask=mask)[0]
            return block.attention.output.dense(core)
        return block.attention(x, attention_mask=mask)[0]
    if name == "llama":
        return block.mlp(block.post_attention_layernorm(x))
    if name == "bert":
        return block.output.dense(block.intermediate(x))
    return block.ffn(x)
