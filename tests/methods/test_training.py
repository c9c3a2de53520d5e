"""Methods whose training does more than follow the gradient: what they are afterwards."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    AdaLoRA,
    AdaMix,
    Adapter,
    Architecture,
    DyLoRA,
    LoRA,
    SoRA,
    SparseAdapter,
    attach,
    describe,
    load,
)
from peftnas.spaces.domains import Choice
from peftnas.spaces.structure import ByLayer

SITE, FFN = "layers[1].attention.value", "layers[0].ffn"


@pytest.fixture
def model(build_backbone):
    return build_backbone("bert")


def hidden(model, batch):
    return model(**batch).last_hidden_state


def output_with(model, batch, method, values):
    """The output with a method whose tensors hold values by name."""
    attached = attach(model, Architecture(method))
    attached.load_state_dict(values)
    out = hidden(model, batch)
    attached.detach()
    return out


def train(model, attached, batch, steps, rate=0.05):
    optimiser = torch.optim.Adam(attached.parameters(), lr=rate)
    for step in range(steps):
        attached.steps.begin(step, steps, seed=3)
        optimiser.zero_grad()
        loss = hidden(model, batch).pow(2).mean()
        penalty = attached.steps.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimiser.step()
        attached.steps.end(step, steps)


def choose(model, attached, batch):
    attached.steps.begin_pruning()
    hidden(model, batch).pow(2).sum().backward()
    attached.steps.prune()


class TestDyLoRA:
    @pytest.mark.parametrize("used", [1, 2, 4])
    def test_truncated_is_plain_lora(self, model, batch, disturb, used):
        attached = attach(model, Architecture(DyLoRA(rank=4, used=used, alpha=6.0)))
        disturb(attached)
        attached.eval()
        expected = hidden(model, batch)
        values = {
            name.replace("dylora", "lora"): value[:used] if name.endswith("A") else value[:, :used]
            for name, value in attached.state_dict().items()
        }
        attached.detach()
        lora = LoRA(rank=used, alpha=6.0)
        assert_close(output_with(model, batch, lora, values), expected)

    def test_all_modules_draw_one_rank_and_all_ranks_come(self, model):
        attached = attach(model, Architecture(DyLoRA(rank=3)))
        drawn = []
        for step in range(40):
            attached.steps.begin(step, 40, seed=1)
            [rank] = {module.drawn for _, module in attached.placed}
            drawn.append(rank)
        assert set(drawn) == {1, 2, 3}

    @pytest.mark.parametrize("frozen", [True, False])
    def test_which_ranks_learn(self, model, batch, disturb, frozen):
        attached = attach(model, Architecture(DyLoRA(rank=3, frozen=frozen)))
        disturb(attached)
        for _, module in attached.placed:
            module.drawn = 2
        hidden(model, batch).pow(2).sum().backward()
        moved = attached.at(SITE, "dylora").A.grad.abs().sum(1) > 0
        assert moved.tolist() == [not frozen, True, False]


class TestSoRA:
    def test_folded_is_plain_lora(self, model, batch, disturb):
        attached = attach(model, Architecture(SoRA(rank=3, alpha=6.0)))
        disturb(attached)
        expected, values = hidden(model, batch), {}
        for placement, module in attached.placed:
            values[f"{placement.site}.lora.A"] = module.gate[:, None] * module.A
            values[f"{placement.site}.lora.B"] = module.B
        values = {name: value.detach().clone() for name, value in values.items()}
        attached.detach()
        assert_close(output_with(model, batch, LoRA(rank=3, alpha=6.0), values), expected)

    def test_gates_shrink_and_stop_at_zero(self, model):
        attached = attach(model, Architecture(SoRA(rank=3, threshold=0.25)))
        module = attached.at(SITE, "sora")
        with torch.no_grad():
            module.gate.copy_(torch.tensor([1.0, -0.5, 0.2]))
        attached.steps.end(0, 1)
        assert_close(module.gate.detach(), torch.tensor([0.75, -0.25, 0.0]))
        assert module.kept == 2


class TestAdaLoRA:
    def test_ends_with_the_target_number_of_ranks(self, model, batch):
        method = AdaLoRA(rank=4, target_rank=2, warmup=0.2, cooldown=0.4)
        attached = attach(model, Architecture(method))
        [(_, bundle)] = attached.placed
        train(model, attached, batch, steps=20)
        ranks = bundle.ranks()
        assert set(ranks) == set(bundle.sites)
        assert sum(ranks.values()) == 2 * len(bundle.sites)

    @pytest.mark.parametrize("steps", [1, 2, 3, 10])
    @pytest.mark.parametrize(("warmup", "cooldown"), [(0.1, 0.3), (0.0, 0.0), (0.5, 0.49)])
    def test_ends_there_whatever_the_schedule(self, model, batch, steps, warmup, cooldown):
        method = AdaLoRA(rank=12, target_rank=1, warmup=warmup, cooldown=cooldown)
        attached = attach(model, Architecture(method))
        [(_, bundle)] = attached.placed
        train(model, attached, batch, steps)
        assert sum(bundle.ranks().values()) == len(bundle.sites)

    @pytest.mark.parametrize(("warmup", "cooldown"), [(0.5, 0.6), (1.0, 0.0), (0.5, 0.5)])
    def test_a_schedule_without_time_to_take_ranks_is_refused(self, warmup, cooldown):
        with pytest.raises(ValueError, match=r"sum must be below 1, got .*; lower one"):
            AdaLoRA(warmup=warmup, cooldown=cooldown)
        with pytest.raises(ValueError, match="sum must be below 1"):
            AdaLoRA(warmup=Choice(0.0, warmup), cooldown=cooldown)

    @pytest.mark.parametrize("stop", [3, 8, 15])
    def test_training_goes_on_after_loading(self, model, tmp_path, stop):
        def steps(attached, first, last):
            for step in range(first, last):
                noise = torch.Generator().manual_seed(step)
                attached.steps.begin(step, 20)
                for parameter in attached.parameters():
                    parameter.grad = torch.randn(parameter.shape, generator=noise)
                    parameter.data.sub_(0.01 * parameter.grad)
                attached.steps.end(step, 20)

        attached = attach(model, Architecture(AdaLoRA(rank=4, target_rank=2)))
        steps(attached, 0, stop)
        attached.save(tmp_path)
        steps(attached, stop, 20)
        expected = attached.state_dict()
        attached.detach()
        again = load(tmp_path, model)
        steps(again, stop, 20)
        state = again.state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.items())

    def test_budget_falls_as_a_cube(self, model):
        method = AdaLoRA(rank=4, target_rank=2, warmup=0.2, cooldown=0.4)
        [(_, bundle)] = attach(model, Architecture(method)).placed
        sites = len(bundle.sites)
        budgets = [bundle.budget(step, 10) for step in range(11)]
        assert budgets[:3] == [4 * sites] * 3
        assert budgets[6:] == [2 * sites] * 5
        half = int(2 * sites + 2 * sites * 0.5**3)
        assert budgets[4] == half
        assert budgets == sorted(budgets, reverse=True)

    def test_penalty_in_closed_form(self, model):
        attached = attach(model, Architecture(AdaLoRA(rank=2, target_rank=1, orthogonality=0.3)))
        [(_, bundle)] = attached.placed
        norms = [
            torch.linalg.norm(gram - torch.eye(2))
            for part in bundle.parts
            for gram in (part.A @ part.A.T, part.B.T @ part.B)
        ]
        assert_close(attached.steps.penalty(), 0.3 * sum(norms) / len(norms))


class TestAdaMix:
    @pytest.mark.parametrize("shared", [True, False])
    def test_averaged_is_a_plain_adapter(self, model, batch, disturb, shared):
        method = AdaMix(bottleneck=4, experts=3, shared_up=shared)
        attached = attach(model, Architecture(method))
        disturb(attached)
        attached.eval()
        expected, values = hidden(model, batch), {}
        for placement, module in attached.placed:
            for side in ("down", "up"):
                for name in ("weight", "bias"):
                    copies = [getattr(expert, name) for expert in getattr(module, side)]
                    key = f"{placement.site}.adapter.{side}.{name}"
                    values[key] = torch.stack(copies).mean(0).detach()
        attached.detach()
        plain = Adapter(placement="houlsby", bottleneck=4)
        assert_close(output_with(model, batch, plain, values), expected)

    def test_a_step_draws_for_each_layer(self, model, batch, disturb):
        attached = attach(model, Architecture(AdaMix(bottleneck=4, experts=3, shared_up=False)))
        disturb(attached)
        assert attached.steps.wants_two_passes
        drawn, outputs = set(), []
        for step in range(8):
            attached.steps.begin(step, 8)
            drawn.add(tuple(module.drawn for _, module in attached.placed))
            outputs.append(hidden(model, batch))
        assert len(drawn) > 4
        assert not torch.equal(outputs[0], outputs[1])


class TestSparseAdapter:
    @pytest.mark.parametrize("score", ["random", "magnitude", "snip"])
    def test_is_an_adapter_with_zeros(self, model, batch, disturb, score):
        method = SparseAdapter(bottleneck=6, sparsity=0.75, score=score)
        attached = attach(model, Architecture(method))
        disturb(attached)
        expected, values = hidden(model, batch), {}
        for placement, module in attached.placed:
            key = f"{placement.site}.adapter"
            for side in ("down", "up"):
                weight = getattr(module, side).weight().detach()
                assert int(weight.count_nonzero()) == placement.kept == 24
                values[f"{key}.{side}.weight"] = weight
                values[f"{key}.{side}.bias"] = getattr(module, f"{side}_bias").detach()
        attached.detach()
        plain = Adapter(placement="houlsby", bottleneck=6)
        assert_close(output_with(model, batch, plain, values), expected)

    def test_snip_keeps_the_most_sensitive_entries(self, model, batch):
        attached = attach(model, Architecture(SparseAdapter(bottleneck=6, sparsity=0.75)))
        assert attached.steps.needs_pruning
        attached.steps.begin_pruning()
        hidden(model, batch).pow(2).sum().backward()
        matrix = attached.at(FFN, "sparse_adapter").down
        whole = matrix._whole
        sensitivity = (whole * whole.grad).abs()
        kept = set(sensitivity.detach().topk(24).indices.tolist())
        attached.steps.prune()
        assert set(matrix.index.tolist()) == kept
        assert not attached.steps.needs_pruning
        attached.steps.prune()  # again: no effect
        assert set(matrix.index.tolist()) == kept

    @pytest.mark.parametrize("pruned", [True, False])
    def test_what_is_chosen_is_saved(self, model, batch, disturb, tmp_path, pruned):
        method = SparseAdapter(bottleneck=6, sparsity=0.75)
        attached = attach(model, Architecture(method), seed=3)
        if pruned:
            choose(model, attached, batch)
        disturb(attached)
        expected, before = hidden(model, batch), attached.state_dict()
        attached.save(tmp_path)
        attached.detach()
        loaded = load(tmp_path, model)
        assert loaded.steps.needs_pruning is not pruned
        if pruned:
            choose(model, loaded, batch)
            assert torch.equal(hidden(model, batch), expected)
        else:
            loaded.steps.begin_pruning()
            matrix = loaded.at(FFN, "sparse_adapter").down
            kept = matrix.weight().flatten()[matrix.index]
            assert torch.equal(kept, before[f"{FFN}.sparse_adapter.down.values"])

    def test_snip_on_a_16_bit_backbone(self, model, batch):
        attached = attach(model.bfloat16(), Architecture(SparseAdapter(bottleneck=6)))
        choose(model, attached, batch)
        assert not attached.steps.needs_pruning
        assert hidden(model, batch).isfinite().all()

    @pytest.mark.parametrize(("sparsity", "kind"), [(0.98, torch.int32), (0.8, torch.uint8)])
    def test_places_are_saved_small(self, model, sparsity, kind):
        """32 bits each, or one bit an entry of the matrix."""
        method = SparseAdapter(bottleneck=6, sparsity=sparsity)
        state = attach(model, Architecture(method)).state_dict()
        assert state[f"{FFN}.sparse_adapter.up.index"].dtype == kind

    def test_sparsity_1_is_absent(self, model):
        assert attach(model, Architecture(SparseAdapter(sparsity=1.0))).count == 0


class TestRobustAdapterDrop:
    def test_leaves_out_the_lowest_layers(self, model, batch, disturb):
        attached = attach(model, Architecture(Adapter(bottleneck=4, drop_below=2)))
        disturb(attached)
        whole, seen = hidden(model, batch), set()
        for step in range(12):
            attached.steps.begin(step, 12)
            idle = [module.idle for _, module in attached.placed]
            assert idle == sorted(idle, reverse=True)
            seen.add(sum(idle))
            assert torch.equal(hidden(model, batch), whole) is (sum(idle) == 0)
        assert seen == {0, 1, 2}
        attached.eval()
        assert torch.equal(hidden(model, batch), whole)

    def test_equals_adapters_in_the_layers_above(self, model, batch, disturb):
        attached = attach(model, Architecture(Adapter(bottleneck=4, drop_below=3)))
        disturb(attached)
        for _, module in attached.placed[:2]:
            module.drawn = 99
        expected = hidden(model, batch)
        values = {k: v.clone() for k, v in attached.state_dict().items() if "layers[2]" in k}
        attached.detach()
        above = Adapter(bottleneck=4, layers=(2,))
        assert_close(output_with(model, batch, above, values), expected)

    @pytest.mark.parametrize(
        ("given", "same"),
        [
            (Adapter(bottleneck=4, drop_below=3), Adapter(bottleneck=4, drop_below=2)),
            (Adapter(bottleneck=4, drop_below=1, layers=(0,)), Adapter(bottleneck=4, layers=(0,))),
            (
                Adapter(bottleneck=ByLayer({0: 4, 1: 4, 2: 0}), drop_below=2),
                Adapter(bottleneck=4, layers=(0, 1), drop_below=1),
            ),
        ],
    )
    def test_a_step_has_at_least_one_adapter(self, model, batch, given, same):
        anatomy = describe(model)
        assert anatomy.canonical(Architecture(given)) == anatomy.canonical(Architecture(same))
        attached = attach(model, Architecture(given))
        for step in range(12):
            attached.steps.begin(step, 12)
            hidden(model, batch).sum().backward()


@pytest.mark.parametrize(("step", "steps"), [(5, 5), (10, 5), (-1, 5), (0, 0)])
def test_a_step_is_one_of_the_steps(model, step, steps):
    attached = attach(model, Architecture(LoRA(rank=2)))
    for call in (attached.steps.begin, attached.steps.end):
        with pytest.raises(ValueError, match=f"got step {step} of {steps} steps; count from 0"):
            call(step, steps)
