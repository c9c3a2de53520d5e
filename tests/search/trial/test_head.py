"""Heads: what they read, what they start from, and that a native one is the family's own."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from peftnas.methods import Architecture, Prompt, attach
from peftnas.search.backbone import Backbone
from peftnas.search.trial.batches import Batch
from peftnas.search.trial.head import Head, build_head, pool

HIDDEN = torch.tensor([[[1.0], [2.0], [6.0]], [[4.0], [5.0], [100.0]]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", [3.0, 4.5]), ("first", [1.0, 4.0]), ("last", [6.0, 5.0])]
)
def test_padding_is_not_read(pooling: str, expected: list[float]) -> None:
    assert pool(HIDDEN, MASK, pooling)[:, 0].tolist() == expected


def batch_of(*rows: list[int], pad: int = 0) -> Batch:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return Batch(ids, mask, None, torch.zeros(len(rows), dtype=torch.long))


def head_of(backbone: Backbone, pooling: str, seed: int = 5) -> tuple[Head, torch.nn.Module]:
    base = backbone.load()
    causal = backbone.anatomy().causal
    return build_head(base, 3, pooling, causal=causal, dropout=0.0, seed=seed), base


BATCH = batch_of([2, 5, 6, 3], [2, 7, 8, 9, 10, 3])


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama"])
def test_a_native_head_is_the_familys_own(name: str, request: pytest.FixtureRequest) -> None:
    backbone: Backbone = request.getfixturevalue(name)
    head, base = head_of(backbone, "native")
    whole = AutoModelForSequenceClassification.from_pretrained(backbone.folder, num_labels=3)
    whole.config.pad_token_id = 0
    missing = whole.load_state_dict(head.state_dict(), strict=False)
    assert not missing.unexpected_keys
    whole.eval()
    attached = attach(base, Architecture())
    with torch.no_grad():
        torch.testing.assert_close(
            head.answer(base, attached, BATCH), whole(**BATCH.inputs()).logits
        )


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "native"])
def test_padding_changes_no_answer(bert: Backbone, pooling: str) -> None:
    head, base = head_of(bert, pooling)
    attached = attach(base, Architecture())
    with torch.no_grad():
        alone = head.answer(base, attached, batch_of([2, 5, 6, 3]))
        torch.testing.assert_close(head.answer(base, attached, BATCH)[:1], alone)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("position", ["before", "after_first"])
def test_positions_of_a_prompt_are_not_read(bert: Backbone, pooling: str, position: str) -> None:
    head, base = head_of(bert, pooling)
    attached = attach(base, Architecture(Prompt(length=4, position=position)))
    seen = []
    head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments))
    with torch.no_grad():
        head.answer(base, attached, BATCH)
        whole = base(**BATCH.inputs()).last_hidden_state
    ((hidden, mask),) = seen
    real = [0, *range(5, 10)] if position == "after_first" else list(range(4, 10))
    torch.testing.assert_close(hidden, whole[:, real])
    assert mask.shape == hidden.shape[:2]


def test_the_start_follows_from_the_seed(bert: Backbone) -> None:
    for pooling in ("mean", "native"):
        first, same, other = (head_of(bert, pooling, seed)[0] for seed in (1, 1, 2))
        for a, b, c in zip(first.parameters(), same.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)
            assert a.dim() == 1 or not torch.equal(a, c)


def test_the_backbone_is_no_part_of_the_head(bert: Backbone) -> None:
    head, _ = head_of(bert, "native")
    assert head.count() == 3 * 32 + 3
    assert set(head.state_dict()) == {"classifier.weight", "classifier.bias"}
