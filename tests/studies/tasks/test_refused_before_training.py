"""What no trial could do is found before a worker starts; what one could do is not refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModel, LlamaConfig

from peftnas import Choice, Integer, Maybe, Recipe, SearchSpace, Study
from peftnas.methods import Adapter, Architecture, LoRA, Prompt
from peftnas.search import open_results, run_study
from peftnas.search.backbone import Backbone
from peftnas.search.errors import UsageError
from peftnas.search.inline_pool import InlinePool
from peftnas.search.preflight import Prepared, prepare
from peftnas.search.results import StudyResults
from peftnas.search.trial.fine_tune import run_trial
from peftnas.spaces import max_train_memory_bytes
from peftnas.studies.space_facts import bind_space
from peftnas.studies.tasks import (
    LanguageModelling,
    MultipleChoice,
    TextClassification,
    TextGeneration,
)
from tests.backbones import save_backbone
from tests.studies.tasks.conftest import SIZES, WORDS
from tests.studies.tasks.test_predicted_memory import answered, choices, labelled, written

Named = Callable[[str], Backbone]
RECIPE = Recipe(steps=2, batch_size=8, max_length=64, evaluations=1)
GATED = LoRA(rank=2, gate="unipelt")


def study(backbone: Backbone, task: Any, space: SearchSpace, **fields: Any) -> Study:
    return Study("limits", backbone, task, space, **({"recipe": RECIPE} | fields))


def ran(defined: Study, out: Path, trials: int) -> StudyResults:
    def pool(prepared: Prepared) -> InlinePool:
        bench = prepared.spec.build()
        return InlinePool(lambda job: run_trial(bench, job))

    options: dict[str, Any] = {"make_pool": pool, "progress": False, "baselines": False}
    summary = run_study(defined, out=out, trials=trials, **options)
    assert summary.failed == 0, summary.last_failure
    return open_results(summary.storage_url, defined.name)


@pytest.fixture
def long_texts(tmp_path: Path) -> TextClassification:
    return TextClassification(written(tmp_path, labelled(50, 57), 60))


def test_a_limit_on_memory_stops_no_prompt_that_runs_without_it(
    backbone_named: Named, long_texts: TextClassification, tmp_path: Path
) -> None:
    space = SearchSpace(Prompt(length=Choice(40, 1, 2)))
    limit = ("train_memory_bytes <= 8GB",)
    limited = study(backbone_named("bert"), long_texts, space, constraints=limit)
    results = ran(limited, tmp_path / "out", 3)
    assert {row.words for row in results.finished} == {f"prompt length {n}" for n in (1, 2, 40)}
    of_space = SearchSpace(*space.items, constraints=(max_train_memory_bytes("8GB"),))
    assert prepare(study(backbone_named("bert"), long_texts, of_space)).bound.size().high == 3


def test_a_prompt_without_room_for_texts_is_refused_and_others_are_trained(
    backbone_named: Named, long_texts: TextClassification, tmp_path: Path
) -> None:
    some = study(backbone_named("bert"), long_texts, SearchSpace(Prompt(length=Choice(61, 60, 2))))
    results = ran(some, tmp_path / "out", 2)
    assert {row.state for row in results.trials} <= {"complete", "refused"}
    assert {row.words for row in results.finished} == {"prompt length 2", "prompt length 60"}
    says = "can be trained: a prompt of 6. leaves no room for texts in the backbone's 64 positions"
    with pytest.raises(UsageError, match=says):
        prepare(study(some.backbone, long_texts, SearchSpace(Prompt(length=Integer(61, 63)))))


def test_a_limit_of_a_space_on_prompts_without_room(
    backbone_named: Named, long_texts: TextClassification
) -> None:
    def bound_by(length: Any) -> Any:
        limit = (max_train_memory_bytes("8GB"),)
        space = SearchSpace(Prompt(length=length), constraints=limit)
        return prepare(study(backbone_named("bert"), long_texts, space)).bound

    assert bound_by(Choice(70, 2)).size().high == 1
    with pytest.raises(UsageError, match="a prompt must leave room for a text"):
        bound_by(Choice(70, 80))


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_space_is_bound_without_data_to_the_positions_of_the_backbone(
    name: str, backbone_named: Named
) -> None:
    limit = max_train_memory_bytes("8GB")
    space = SearchSpace(Maybe(Prompt(length=Integer(1, 9))), constraints=(limit,))
    wide = Recipe(steps=2, max_length=128)
    backbone = backbone_named(name)
    tasks: list[Any] = [TextClassification("nowhere"), MultipleChoice("nowhere")]
    if name == "llama":
        tasks += [LanguageModelling("nowhere"), TextGeneration("nowhere", max_new_tokens=8)]
    for task in tasks:
        bound = bind_space(study(backbone, task, space, recipe=wide), backbone)
        sizes = [
            bound.train_memory_bytes(Architecture(*methods))
            for methods in ((), (Prompt(length=2),), (Prompt(length=70),))
        ]
        assert 0 < sizes[0] < sizes[1] < sizes[2] == float("inf")


def test_a_gate_over_whole_texts_is_refused_where_words_come_one_by_one(
    backbone_named: Named, tmp_path: Path
) -> None:
    task = TextGeneration(written(tmp_path, answered(4, 2), 40), max_new_tokens=4)
    llama = backbone_named("llama")
    says = "cannot come one by one with a gate .* whole text; take gate_tokens='causal'"
    with pytest.raises(UsageError, match=says):
        prepare(study(llama, task, SearchSpace(GATED.replace(rank=Choice(2, 3)))))
    either = GATED.replace(gate_tokens=Choice("unmasked", "causal"))
    results = ran(study(llama, task, SearchSpace(either)), tmp_path / "out", 1)
    (row,) = results.finished
    assert "causal" in str(row.architecture)
    # classes are told by one pass
    plain = TextClassification(written(tmp_path, labelled(4, 9), 40))
    prepare(study(llama, plain, SearchSpace(GATED)))
    with pytest.raises(UsageError, match=says):
        prepare(
            study(llama, plain, SearchSpace(GATED), objectives=("accuracy", "decode_overhead"))
        )


def test_weights_without_the_head_of_a_language_model(tmp_path: Path) -> None:
    config = {"num_key_value_heads": 2, "max_position_embeddings": 64, "eos_token_id": 4}
    texts = written(tmp_path, labelled(4, 9), 40)
    told = TextClassification(texts, label_words={"yes": "yes", "no": "no"})
    generated = TextGeneration(written(tmp_path, answered(4, 2), 40), max_new_tokens=4)
    for tied in (False, True):
        (folder := tmp_path / f"tied {tied}").mkdir()
        llama = LlamaConfig(bos_token_id=None, tie_word_embeddings=tied, **config, **SIZES)
        save_backbone(folder, llama, pad=False, known=WORDS, auto=AutoModel)
        for task in (LanguageModelling(texts), told, generated):
            defined = study(Backbone(folder), task, SearchSpace(LoRA(rank=2)))
            if tied:
                task.form.check_weights(Backbone(folder))
                model = task.form.load(Backbone(folder), "float32", "cpu")
                assert type(model).__name__ == "LlamaForCausalLM"
                continue
            with pytest.raises(UsageError, match=r"'lm_head.weight' in no file of 'tied False'"):
                prepare(defined)


def test_one_example_of_several_answers_is_timed_as_it_is_read(
    backbone_named: Named, tmp_path: Path
) -> None:
    task = MultipleChoice(written(tmp_path, choices, 60))
    prepared = prepare(study(backbone_named("bert"), task, SearchSpace(Adapter(bottleneck=2))))
    rows: Any = prepared.spec.build().examples(64).validation
    reads = task.form.reading(rows, 64, 1, 1).reads
    most, longest = int(np.diff(rows.starts).max()), int(rows.tokens.lengths.max())
    assert most > 1 and rows.lengths.max() > longest
    assert (reads.batch, reads.tokens) == (most, longest)
