"""Costs before training: the closed forms of the literature, where there are some."""

from __future__ import annotations

import json
import re
import struct

import pytest
import torch
from transformers import AutoModel, BertConfig, LlamaConfig, PreTrainedConfig

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    BitFit,
    Compacter,
    FullFineTuning,
    GatedLoRAPrefix,
    LoRA,
    Prefix,
    Prompt,
    PTuning,
    ReFT,
    SparseAdapter,
    attach,
    costs,
    count,
    describe,
    save,
    stored_bytes,
)
from peftnas.methods.base import Method
from peftnas.methods.measured_memory import measured_train_memory
from peftnas.methods.reads import Reads
from tests.methods.conftest import CONFIGS, build
from tests.methods.test_conformance import EXAMPLES, NAMES
from tests.methods.test_presets import SMALL, make, preset_functions

BATCH, TOKENS = 2, 8
# those of the table in the reference: f = 4d, r = d/8
WIDTH, HEADS, LENGTH = 64, 4, 64


def bert(layers: int) -> BertConfig:
    return BertConfig(
        vocab_size=30,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=LENGTH,
    )


def llama(layers: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=30,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=LENGTH,
    )


def of(architecture: Architecture, config: PreTrainedConfig, **more):
    return costs(architecture, config, batch=BATCH, tokens=TOKENS, **more)


def activations(architecture: Architecture, config: PreTrainedConfig, **more) -> float:
    """Saved numbers per token, in units of the width."""
    found = costs(architecture, config, batch=BATCH, tokens=LENGTH, **more)
    return found.train_memory.activations / (4 * BATCH * LENGTH * WIDTH)


def lora(layers: tuple[int, ...] | None = None) -> Architecture:
    return Architecture(LoRA(rank=WIDTH // 8, targets=("query", "value"), layers=layers))


class TestActivations:
    """Section 6 of the methods' reference says 10.13, 18.09, 11.38, 19.34, 16.13 and 26.09."""

    @pytest.mark.parametrize(("make", "passing"), [(bert, 10.125), (llama, 18.094)])
    def test_a_frozen_layer_that_the_gradient_passes(self, make, passing):
        three, two = (activations(lora((0,)), make(layers)) for layers in (3, 2))
        assert three - two == pytest.approx(passing, abs=0.001)

    @pytest.mark.parametrize(("make", "expected"), [(bert, 11.375), (llama, 19.344)])
    def test_a_layer_with_lora(self, make, expected):
        three, two = (activations(lora(), make(layers)) for layers in (3, 2))
        assert three - two == pytest.approx(expected, abs=0.001)

    @pytest.mark.parametrize(("make", "expected"), [(bert, 16.125), (llama, 26.094)])
    def test_a_layer_of_full_fine_tuning(self, make, expected):
        full = Architecture(FullFineTuning())
        three, two = (activations(full, make(layers)) for layers in (3, 2))
        assert three - two == pytest.approx(expected, abs=0.001)

    def test_bert_grows_by_the_layers_above_the_lowest_module(self):
        found = [activations(lora(tuple(range(4 - top, 4))), bert(4)) for top in (1, 2, 3, 4)]
        assert found == pytest.approx([11.39, 22.77, 34.14, 45.52], abs=0.005)

    def test_depth_of_the_lowest_module_counts(self):
        found = [of(lora(tuple(range(low, 3))), CONFIGS["llama"]()) for low in (0, 1, 2)]
        assert [one.lowest_layer for one in found] == [0, 1, 2]
        memory = [one.train_memory_bytes for one in found]
        assert memory == sorted(memory, reverse=True) and len(set(memory)) == 3

    def test_prompts_pay_for_all_layers(self):
        prompt = of(Architecture(Prompt(length=1)), CONFIGS["bert"]())
        top = of(Architecture(LoRA(rank=1, layers=(2,))), CONFIGS["bert"]())
        assert prompt.lowest_layer == 0 and top.lowest_layer == 2
        assert prompt.train_memory.activations > 2 * top.train_memory.activations

    def test_nothing_trained_below_a_decoder_leaves_out_the_encoder(self):
        cross = Architecture(LoRA(rank=2, targets=("cross_query",)))
        both = Architecture(LoRA(rank=2, targets=("query",)))
        config = CONFIGS["t5"]()
        assert of(cross, config).lowest_layer == 2  # of two and two layers
        assert of(both, config).lowest_layer == 0

    def test_checkpointing_keeps_layer_inputs_and_one_layer(self):
        plain = activations(lora(), bert(4))
        thrifty = activations(lora(), bert(4), checkpointing=True)
        assert thrifty == pytest.approx(4 + plain / 4, rel=0.05)

    def test_no_module_and_a_head_saves_what_the_head_reads(self):
        found = of(Architecture(), bert(2), outputs=3)
        assert found.lowest_layer is None and found.trainable_parameters == 0
        assert found.train_memory.trainable == 4 * 3 * (WIDTH + 1)
        assert 4 * BATCH * WIDTH < found.train_memory.activations < 5 * BATCH * WIDTH


class TestTrainMemory:
    @pytest.mark.parametrize("optimiser, states", [("adamw", 2), ("momentum", 1), ("sgd", 0)])
    def test_parts(self, optimiser, states):
        architecture, config = lora(), bert(2)
        n = count(architecture, describe(config))
        memory = of(architecture, config, optimiser=optimiser).train_memory
        backbone = describe(config).backbone_parameters
        assert (memory.trainable, memory.gradients) == (4 * n, 4 * n)
        assert memory.optimiser == states * 4 * n
        # positions and token types are buffers of int64
        assert memory.weights == 4 * backbone + 2 * 8 * LENGTH
        assert memory.total == sum(
            (memory.weights, 2 * 4 * n, memory.optimiser, memory.activations)
        )

    def test_modules_on_16_bits_keep_32(self):
        architecture, config = lora(), bert(2)
        n = count(architecture, describe(config))
        memory = of(architecture, config, dtype=torch.bfloat16).train_memory
        assert memory.trainable == 4 * n
        assert memory.weights == 2 * describe(config).backbone_parameters + 2 * 8 * LENGTH

    def test_full_fine_tuning_has_nothing_frozen(self):
        config = bert(2)
        n = describe(config).backbone_parameters
        memory = of(Architecture(FullFineTuning()), config, dtype=torch.bfloat16).train_memory
        assert (memory.weights, memory.trainable) == (2 * 8 * LENGTH, 2 * n)


class TestExtraFlop:
    """Per token, two for a multiplication and an addition."""

    @pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "vit", "t5"])
    def test_lora(self, name):
        config, r = CONFIGS[name](), 3
        anatomy = describe(config)
        targets = tuple(t for t in ("query", "value", "up", "down") if t in anatomy.targets)
        found = of(Architecture(LoRA(rank=r, targets=targets)), config)
        sites = [
            site
            for layer in range(anatomy.n_layers)
            for _, site in anatomy.linears_of(layer, targets)
        ]
        assert found.extra_flop == 2 * r * sum(site.n_in + site.n_out for site in sites)
        assert found.extra_flop_merged == 0 and found.mergeable and found.remaining == ()

    @pytest.mark.parametrize("name", ["bert", "llama", "vit"])
    @pytest.mark.parametrize("insertion", ["serial", "parallel"])
    def test_adapter(self, name, insertion):
        config, r = CONFIGS[name](), 4
        found = of(Architecture(Adapter(bottleneck=r, insertion=insertion)), config)
        assert found.extra_flop == found.extra_flop_merged == 3 * 4 * 16 * r
        assert not found.mergeable and len(found.remaining) == 3

    @pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "vit"])
    def test_prefix(self, name):
        anatomy, length = describe(CONFIGS[name]()), 5
        found = of(Architecture(Prefix(length=length)), CONFIGS[name]())
        heads = [layer.heads * layer.head_width for layer in anatomy.layers]
        assert found.extra_flop == sum(4 * length * width for width in heads)
        assert found.extra_flop_merged == found.extra_flop

    def test_a_prompt_is_that_many_tokens_more(self):
        config = bert(2)
        found = of(Architecture(Prompt(length=TOKENS)), config)
        longer = costs(Architecture(), config, batch=BATCH, tokens=2 * TOKENS)
        assert found.extra_flop == 2 * longer.forward_flop - found.forward_flop

    def test_vectors_add_no_product(self):
        found = of(Architecture(IA3(), BitFit()), CONFIGS["bert"]())
        assert (found.extra_flop, found.extra_flop_merged, found.mergeable) == (0, 0, True)

    def test_what_merges_leaves_the_rest(self):
        prefix, lora = Prefix(length=5), LoRA(rank=3)
        config = CONFIGS["bert"]()
        both, rest = of(Architecture(prefix, lora), config), of(Architecture(prefix), config)
        assert both.extra_flop > both.extra_flop_merged == rest.extra_flop
        assert both.remaining == rest.remaining

    @pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3"])
    def test_of_a_decoded_token(self, name):
        config, r = CONFIGS[name](), 3
        alone = of(Architecture(LoRA(rank=r)), config)
        assert alone.extra_flop_decoded == alone.extra_flop > 0
        prefix = of(Architecture(Prefix(length=4)), config)
        assert prefix.extra_flop_decoded == prefix.extra_flop
        # prompts cost a decoded token what they add to the cache, no layers
        prompt = of(Architecture(Prompt(length=4)), config)
        assert prompt.extra_flop_decoded == prefix.extra_flop < prompt.extra_flop

    @pytest.mark.parametrize("name", ["bert", "vit", "clip", "mamba"])
    def test_where_nothing_is_decoded_from_a_cache(self, name):
        assert of(Architecture(), CONFIGS[name]()).extra_flop_decoded is None

    def test_forward_is_two_for_each_weight_of_a_linear(self):
        """A token at a batch and length where attention itself counts for nothing."""
        anatomy, config = describe(llama(2)), llama(2)
        weights = sum(site.n_in * site.n_out for site in anatomy.linears.values())
        attention = 4 * TOKENS * WIDTH * 2
        assert of(Architecture(), config).forward_flop == 2 * weights + attention


FOLDING: list[tuple[Method, Method]] = [
    (Prefix(length=3, mlp=5), Prefix(length=3)),
    (GatedLoRAPrefix(rank=2, length=3, mlp=5), GatedLoRAPrefix(rank=2, length=3)),
    (PTuning(length=3), Prompt(length=3)),
    (PTuning(length=3, encoder="lstm", hidden=4), Prompt(length=3)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["32", "16"])
@pytest.mark.parametrize(("method", "folded"), FOLDING, ids=lambda method: method.words())
def test_what_folds_away_costs_no_flop_and_is_not_stored(method, folded, dtype):
    config = CONFIGS["llama"]()
    found, plain = (of(Architecture(one), config, dtype=dtype) for one in (method, folded))
    assert (found.extra_flop, found.extra_flop_merged) == (
        plain.extra_flop,
        plain.extra_flop_merged,
    )
    assert found.extra_flop_decoded == plain.extra_flop_decoded
    assert (found.stored_parameters, found.stored_bytes) == (
        plain.stored_parameters,
        plain.stored_bytes,
    )
    assert found.trainable_parameters > plain.trainable_parameters


METHODS: list[Method] = [
    LoRA(rank=3, targets=("query", "up")),
    LoRA(rank=3, gate="unipelt"),
    IA3(),
    BitFit(),
    Adapter(bottleneck=4, site="both", scale="learned"),
    Prefix(length=3),
    Prompt(length=3),
    Compacter(bottleneck=4),
    ReFT(rank=2, first=2, last=1),
    FullFineTuning(),
    SparseAdapter(bottleneck=8, sparsity=0.5),  # places as bits
    SparseAdapter(bottleneck=16, sparsity=0.99),  # places as int32
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["32", "16"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_stored_bytes_are_those_of_the_saved_file(method, dtype, tmp_path):
    """Without the header: 8 bytes with its length, and JSON."""
    model = build("bert").to(dtype)
    attached = attach(model, Architecture(method))
    save(attached, tmp_path)
    content = (tmp_path / "adapter.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    json.loads(content[8 : 8 + length])
    found = of(Architecture(method), CONFIGS["bert"](), dtype=dtype)
    # a byte for each matrix that has been pruned: a training goes on from it
    flags = sum(name.endswith(".pruned") for name in attached.state_dict())
    assert found.stored_bytes == len(content) - 8 - length - flags
    if dtype == torch.float32:
        assert found.stored_bytes == stored_bytes(attached.architecture, attached.anatomy)


def test_training_only_parts_are_not_stored():
    found = of(Architecture(Prefix(length=3, mlp=50)), CONFIGS["bert"]())
    assert found.stored_bytes == 4 * found.stored_parameters < 4 * found.trainable_parameters


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family(name):
    config = CONFIGS[name]()
    targets = describe(config).targets
    found = of(Architecture(LoRA(rank=2, targets=targets)), config, outputs=2, padded=True)
    assert found.trainable_parameters == found.stored_parameters
    assert found.train_memory.activations > 0 and found.lowest_layer == 0
    assert 0 < found.extra_flop < found.forward_flop and found.mergeable


def test_costs_neither_depend_on_random_state_nor_change_it():
    config = CONFIGS["llama"]()
    architecture = Architecture(Prefix(length=3, mlp=4), LoRA(rank=2), Prompt(length=1))
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(of(architecture, config, dropout=0.1))
        assert torch.equal(torch.get_rng_state(), state)
    assert found[0] == found[1]


class TestRefused:
    def test_an_unknown_optimiser(self):
        with pytest.raises(ValueError, match="optimiser must be one of adamw, .*, got 'lion'"):
            of(Architecture(), bert(1), optimiser="lion")

    def test_a_negative_number_of_outputs(self):
        with pytest.raises(ValueError, match=r"outputs must be 0 \(no head\) or more, got -1"):
            of(Architecture(), bert(1), outputs=-1)

    def test_what_the_backbone_lacks_and_the_next_one_works(self):
        config = CONFIGS["mamba"]()
        with pytest.raises(ValueError, match="do not exist in mamba"):
            of(Architecture(Prefix(length=2)), config)
        assert of(Architecture(LoRA(rank=1, targets=("in_proj",))), config).mergeable

    def test_a_measurement_where_nothing_can_be_measured(self):
        with torch.device("meta"):
            model = AutoModel.from_config(bert(1))
        with pytest.raises(ValueError, match="a CPU or a CUDA GPU, this model lies on meta"):
            measured_train_memory(model, lora(), Reads(2, 8))
        with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
            measured_train_memory(build("bert"), lora(), Reads(2, 8), steps=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layers", [None, (3,)], ids=["all", "top"])
def test_a_gpu_takes_what_is_predicted(layers):
    config = BertConfig(
        hidden_size=512, num_hidden_layers=4, num_attention_heads=8, intermediate_size=2048
    )
    model = AutoModel.from_config(config).eval().to("cuda")
    architecture = Architecture(LoRA(rank=8, layers=layers))
    predicted = costs(architecture, config, batch=32, tokens=128).train_memory_bytes
    measured = measured_train_memory(model, architecture, Reads(32, 128))
    # besides what is predicted: gradients of activations and workspace
    assert predicted < measured < 1.5 * predicted


class TestEveryMethod:
    """Costs are told of whatever can be attached; what cannot is refused in the same words."""

    @pytest.mark.parametrize("name", ["bert", "llama", "t5"])
    @pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
    def test_of_examples(self, example, name):
        layers = getattr(example.method, "layers", None)
        # a gate in t5's encoder has seen its whole text before the decoder begins
        hindered = example.whole_text and not (name == "t5" and layers == (1,))
        self.check(Architecture(example.method), name, decodes=not hindered)

    @pytest.mark.parametrize("name", ["bert", "llama", "t5"])
    @pytest.mark.parametrize("preset", preset_functions())
    def test_of_presets(self, preset, name):
        config = CONFIGS[name]()
        if preset == "s4":  # of four groups of layers
            config.num_hidden_layers = 4
        whole_text = preset in ("unipelt_ap", "unipelt_apl", "unipelt_central")
        architecture = make(preset, describe(config), **SMALL)
        self.check(architecture, name, decodes=not whole_text, config=config)

    @pytest.mark.parametrize("method", [Prompt(length=2, start="vocabulary"), PTuning(length=2)])
    def test_of_other_starts_and_networks(self, method):
        self.check(Architecture(method), "llama", decodes=True)

    def test_gates_in_the_encoder_alone_do_not_hinder_the_decoder(self):
        gated = LoRA(rank=2, gate="unipelt", layers=(0, 1))
        assert of(Architecture(gated), CONFIGS["t5"]()).extra_flop_decoded == 0
        gated = gated.replace(layers=(2,))
        assert of(Architecture(gated), CONFIGS["t5"]()).extra_flop_decoded is None
        gated = gated.replace(gate_tokens="causal")
        assert of(Architecture(gated), CONFIGS["t5"]()).extra_flop_decoded > 0

    def check(self, architecture, name, *, decodes, config=None):
        config = config or CONFIGS[name]()
        anatomy = describe(config)
        try:
            expected = count(architecture, anatomy)
        except ValueError as error:
            with pytest.raises(ValueError, match=re.escape(str(error))):
                of(architecture, config)
            return
        found = of(architecture, config)
        assert found.trainable_parameters == expected > 0
        assert 0 < found.stored_parameters <= expected
        assert found.extra_flop >= found.extra_flop_merged >= 0
        assert found.train_memory.activations > 0
        assert (found.extra_flop_decoded is not None) is (decodes and name != "bert")
