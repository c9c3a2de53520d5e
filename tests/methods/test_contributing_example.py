"""The method that CONTRIBUTING.md shows works as it is written there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import Architecture, attach, count, describe, load
from peftnas.spaces import Maybe, SearchSpace, Subset, fields

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
BLOCK = re.compile(r"<!-- example: method -->\n```python\n(.*?)```\n", re.DOTALL)


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """The block as a module; its method is unknown again afterwards."""
    [code] = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    module = ModuleType("peftnas_contributing_example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setattr(fields, "_KINDS", dict(fields._KINDS))
        exec(compile(code, str(GUIDE), "exec"), module.__dict__)
        yield module


def test_attach_count_save(example, build_backbone, batch, tmp_path):
    model = build_backbone("bert")
    before = model(**batch).last_hidden_state
    architecture = Architecture(example.Loudness(layers=(0, 2)))
    attached = attach(model, architecture)
    assert attached.count == count(architecture, describe(model)) == 2
    assert sum(parameter.numel() for parameter in attached.parameters()) == 2
    assert_close(model(**batch).last_hidden_state, before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter.fill_(0.5)
    louder = model(**batch).last_hidden_state
    assert (louder - before).abs().max() > 1e-2
    attached.save(tmp_path)
    attached.detach()
    assert_close(model(**batch).last_hidden_state, before, rtol=0, atol=0)
    loaded = load(tmp_path, model)
    assert_close(model(**batch).last_hidden_state, louder, rtol=0, atol=0)
    loaded.detach()


def test_space(example, build_backbone):
    anatomy = describe(build_backbone("bert"))
    bound = SearchSpace(Maybe(example.Loudness(layers=Subset.of_layers()))).bind(anatomy)
    assert bound.size() == 2**3  # every subset of three layers; the empty one is no method
    assert bound.parameter_range() == (0, 3)
    for seed in range(20):
        sample = bound.sample(seed)
        assert bound.contains(sample)
        assert bound.count(sample) == sum(len(m.layers or range(3)) for m in sample.methods)
        again = Architecture.from_json(sample.to_json())
        assert bound.train_key(again) == bound.train_key(sample)


def test_a_backbone_without_its_site(example, build_backbone, monkeypatch):
    model = build_backbone("mamba")
    said = r"sublayers \['ffn'\] do not exist in mamba backbones; leave the method out"
    for call in (
        lambda: attach(model, example.Loudness()),
        lambda: count(example.Loudness(), describe(model)),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    # and one that forgets the check
    monkeypatch.setattr(type(describe(model)), "check_sublayers", lambda *args: None)
    with pytest.raises(ValueError, match=r"names the site 'layers\[0\].ffn', which this mamba"):
        attach(model, example.Loudness())
