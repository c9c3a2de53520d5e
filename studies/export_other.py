"""A trained point for other libraries: an adapter of HF peft, or plain merged transformers.

Both are loaded again when they are written, and compared with the trial on validation texts.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftnas.search.task_protocol import Split
from peftnas.studies.export_check import refused

if TYPE_CHECKING:
    from torch import Tensor

    from peftnas.search.trial.batches import Batch
    from peftnas.search.trial.classifier import Classifier
    from peftnas.studies.answer import Answerer
    from peftnas.studies.restore import TrainedTrial

HEAD = "head.safetensors"
ROWS = 8  # of the comparison


def write_peft(draft: Path, trained: TrainedTrial, answerer: Answerer) -> dict[str, Any]:
    """An adapter folder of HF peft, the head beside it.

    Returns:
        What ``export.json`` says of it besides the usual.
    Raises:
        UsageError: if peft is not installed or cannot express the architecture.
    """
    from safetensors.torch import save_file

    from peftnas.methods.interchange.peft_folder import save_as_peft

    classifier, backbone = answerer.classifier, trained.bench.backbone
    # a hub name, or the folder
    where = backbone.name if "/" in backbone.name else str(backbone.folder)
    fresh = backbone.load(trained.row.recipe["dtype"], str(classifier.base.device))
    with refused("peft"):
        batch = _batch(trained, answerer).inputs()
        save_as_peft(classifier.attached, draft, where, fresh=fresh, batch=batch)
    save_file(_head_tensors(classifier, with_pooler=True), draft / HEAD)
    assert answerer.tokenizer is not None, "check_form lets texts pass alone"
    answerer.tokenizer.save_pretrained(draft / "tokenizer")
    return {"head": "classifier" if _is_native(classifier) else "pooled", "load": where}


def write_merged(draft: Path, trained: TrainedTrial, answerer: Answerer) -> dict[str, Any]:
    """A plain transformers folder; the family's own head in it, another one beside it.

    Returns:
        What ``export.json`` says of it besides the usual.
    Raises:
        UsageError: if not everything can be merged, or plain transformers cannot hold it.
    """
    from safetensors.torch import save_file

    from peftnas.methods.interchange.merged import save_merged

    classifier, batch = answerer.classifier, _batch(trained, answerer)
    factory = _native_factory(trained, classifier)
    with refused("merged"):
        if factory is None:
            save_merged(classifier.attached, draft, batch=batch.inputs())
        else:
            _write_classifier(draft, factory, trained, answerer, batch)
    if factory is None:
        save_file(_head_tensors(classifier), draft / HEAD)
    assert answerer.tokenizer is not None, "check_form lets texts pass alone"
    answerer.tokenizer.save_pretrained(draft)
    return {"head": "pooled" if factory is None else "classifier"}


def _write_classifier(
    draft: Path, factory: Any, trained: TrainedTrial, answerer: Answerer, batch: Batch
) -> None:
    """The backbone and its native head as the family's sequence classifier."""
    import torch

    from peftnas.methods.interchange.merged import check_plain, merged_weights, write_plain

    classifier = answerer.classifier
    with merged_weights(classifier.attached, batch.inputs()) as (config, state):
        config = copy.deepcopy(config)
        config.pad_token_id = trained.bench.backbone.pad_id()
        _name_labels(config, trained, answerer)
        prefix = classifier.base.base_model_prefix
        whole = {f"{prefix}.{name}": tensor for name, tensor in state.items()}
        head = _head_tensors(classifier)
        dtype = classifier.base.dtype
        whole |= {name: tensor.to(classifier.base.device, dtype) for name, tensor in head.items()}
        with torch.device("meta"):
            model = factory.from_config(config)
        write_plain(model, whole, draft)
        with torch.no_grad():
            logits = classifier.logits(batch)
        check_plain(factory, draft, classifier.base, logits, batch.inputs())


def _name_labels(config: Any, trained: TrainedTrial, answerer: Answerer) -> None:
    config.num_labels = trained.bench.data.n_outputs
    if answerer.label_names:
        config.id2label = dict(enumerate(answerer.label_names))
        config.label2id = {name: number for number, name in enumerate(answerer.label_names)}
        config.problem_type = "single_label_classification"
    else:
        config.problem_type = "regression"


def _native_factory(trained: TrainedTrial, classifier: Classifier) -> Any:
    """The class that loads backbone and head together; ``None`` where there is none."""
    from transformers import AutoModelForSequenceClassification

    if trained.row.recipe["pooling"] != "native":
        return None
    known = AutoModelForSequenceClassification._model_mapping
    return AutoModelForSequenceClassification if type(classifier.base.config) in known else None


def _is_native(classifier: Classifier) -> bool:
    from peftnas.search.trial.head import NativeHead

    return isinstance(classifier.head, NativeHead)


def _head_tensors(classifier: Classifier, *, with_pooler: bool = False) -> dict[str, Tensor]:
    """The head's parameters; before a native one the pooler, which a file may lack."""
    head = {name: tensor.cpu() for name, tensor in classifier.head.state_dict().items()}
    if with_pooler and _is_native(classifier):
        prefix = classifier.base.base_model_prefix
        head |= {
            f"{prefix}.{name}": tensor.detach().cpu()
            for name, tensor in classifier.base.state_dict().items()
            if name.startswith("pooler.")
        }
    return head


def _batch(trained: TrainedTrial, answerer: Answerer) -> Batch:
    """A few validation texts of different lengths, padded on the right."""
    import numpy as np

    split = trained.bench.data.validation
    assert isinstance(split, Split), "check_form lets texts pass alone"
    some = slice(0, 8 * ROWS)
    tokens = answerer.tokens(split.texts[some], None if split.pairs is None else split.pairs[some])
    order = np.argsort(tokens.lengths, kind="stable")
    rows = order[np.linspace(0, len(order) - 1, min(ROWS, len(order))).astype(np.int64)]
    return tokens.batch(rows, str(answerer.classifier.base.device))
