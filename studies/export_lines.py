"""What an exported folder says of itself: the lines of Python that load it, and its README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FORMATS = ("peftnas", "peft", "merged")


def loading_lines(folder: Path, facts: dict[str, Any], methods: Path | None = None) -> str:
    """The lines of Python that load an export and use it.

    Args:
        folder: of the export.
        facts: content of its ``export.json``.
        methods: FILE of the study, if the architecture has methods that are defined there.
    """
    if facts["layout"] == "peftnas":
        return _own_lines(folder, facts["usage"], methods)
    return "\n".join(_lines_without_peftnas(folder, facts))


def readme(facts: dict[str, Any], lines: str) -> str:
    """The text of README.md."""
    scores = ", ".join(f"{name} {value:.4f}" for name, value in facts["validation"].items())
    return f"""\
# Trial {facts["trial"]} of the study {facts["study"]}

{facts["architecture"]}

{facts["trainable_parameters"]:,} trainable parameters; {scores} on validation.

```python
{lines}
```

{_remarks(facts)}
"""


def _own_lines(folder: Path, usage: str, methods: Path | None) -> str:
    where = [repr(str(folder.absolute()))]
    if methods is not None:
        where.append(f"methods={str(methods.absolute())!r}")
    return (
        "from peftnas.studies.export import load_exported\n"
        f"{'classify' if 'classify' in usage else 'model'} = load_exported({', '.join(where)})\n"
        f"{usage}"
    )


def _lines_without_peftnas(folder: Path, facts: dict[str, Any]) -> list[str]:
    is_peft, whole = facts["layout"] == "peft", facts["head"] == "classifier"
    model_class = "AutoModelForSequenceClassification" if whole else "AutoModel"
    lines = ["import torch"]
    lines += ["from peft import PeftModel"] if is_peft else []
    lines += ["from safetensors.torch import load_file"] if _has_head_file(facts) else []
    lines += [
        f"from transformers import {model_class}, AutoTokenizer",
        "",
        f"folder = {str(folder.absolute())!r}",
    ]
    tokenizer = 'f"{folder}/tokenizer"' if is_peft else "folder"
    lines.append(f"tokenizer = AutoTokenizer.from_pretrained({tokenizer})")
    lines.append("tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token")
    lines += _model_lines(facts, model_class, is_peft, whole)
    lines += _batch_lines(facts)
    if whole:
        return [*lines, "with torch.no_grad():", "    logits = model(**batch).logits"]
    return lines + _head_lines(facts)


def _model_lines(facts: dict[str, Any], model_class: str, is_peft: bool, whole: bool) -> list[str]:
    dtype = f'dtype="{facts["dtype"]}"'
    if not is_peft:
        return [f"model = {model_class}.from_pretrained(folder, {dtype}).eval()"]
    base = repr(facts["backbone"]["load"])
    if not whole:
        return [
            f"base = AutoModel.from_pretrained({base}, {dtype})",
            "model = PeftModel.from_pretrained(base, folder).eval()",
        ]
    # peft takes the backbone alone; its prompts would not fit around the whole classifier
    outputs = f"num_labels={facts['n_outputs']}"
    return [
        f"model = {model_class}.from_pretrained({base}, {dtype}, {outputs}).eval()",
        'model.load_state_dict(load_file(f"{folder}/head.safetensors"), strict=False)',
        "inner = PeftModel.from_pretrained(model.base_model, folder).eval()",
        "setattr(model, model.base_model_prefix, inner)",
    ]


def _batch_lines(facts: dict[str, Any]) -> list[str]:
    texts = '["a text"], ["its pair"]' if facts["pairs"] else '["a text"]'
    return [
        f"batch = tokenizer({texts}, padding=True, padding_side='right', truncation=True,",
        f"                  max_length={facts['max_length']}, return_tensors='pt',",
        f"                  return_token_type_ids={facts['token_types']})",
    ]


def _head_lines(facts: dict[str, Any]) -> list[str]:
    real = f"[:, {facts['prompt_length']}:]" if facts["prompt_length"] else ""
    bias = "" if facts["pooling"] == "native" else ' + head["score.bias"]'
    lines = [
        'head = load_file(f"{folder}/head.safetensors")',
        "with torch.no_grad():",
        f"    hidden = model(**batch).last_hidden_state{real}.float()",
    ]
    if facts["pooling"] == "first":
        lines.append("pooled = hidden[:, 0]")
    elif facts["pooling"] == "mean":
        lines.append('mask = batch["attention_mask"].unsqueeze(-1)')
        lines.append("pooled = (hidden * mask).sum(1) / mask.sum(1)")
    else:
        lines.append('last = batch["attention_mask"].sum(1) - 1')
        lines.append("pooled = hidden[torch.arange(len(hidden)), last]")
    return [*lines, f'logits = pooled @ head["score.weight"].T{bias}']


def _has_head_file(facts: dict[str, Any]) -> bool:
    return not (facts["layout"] == "merged" and facts["head"] == "classifier")


def _remarks(facts: dict[str, Any]) -> str:
    """What has to be known beside the lines."""
    name, sha256 = facts["backbone"]["name"], facts["backbone"]["sha256"]
    lost = f"The backbone is not in this folder: {name}, with weights of sha256\n`{sha256}`."
    labels = ", ".join(facts["label_names"])
    names = f"Classes in the order of the logits: {labels}." if labels else ""
    if facts["layout"] == "peftnas":
        pairs = "Its task is on pairs: `classify(texts, pairs)`.\n\n" if facts["pairs"] else ""
        names = "`classify.labels([...])` gives the names of the classes.\n\n"
        return (
            f"{names if 'classify' in facts['usage'] else ''}"
            f"{pairs}{lost}\n"
            "Where it is not found by itself, name its folder: `load_exported(..., "
            "backbone=FOLDER)`."
        )
    if facts["layout"] == "peft":
        return f"{names}\n\n{lost}".strip()
    merged = f"Everything is merged into the weights of {name} (sha256 `{sha256}`)."
    return f"{names}\n\n{merged}".strip()
