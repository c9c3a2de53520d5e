"""ReFT: what its rank can be."""

from __future__ import annotations

import pytest

from peftnas.methods import Architecture, ReFT, attach, count, describe
from peftnas.spaces import SearchSpace
from peftnas.spaces.domains import Choice, Integer

FORMS = ("loreft", "noreft", "direft")


@pytest.mark.parametrize("form", FORMS)
def test_rank_up_to_the_width(form, build_backbone, batch):
    model = build_backbone("bert")
    attached = attach(model, Architecture(ReFT(rank=16, form=form)))
    assert attached.count == count(attached.architecture, describe(model))
    assert model(**batch).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_higher_ranks_are_refused(form, build_backbone):
    model = build_backbone("bert")
    refusal = "rank must be at most the width 16 .* got 17; lower it"
    with pytest.raises(ValueError, match=refusal):
        count(Architecture(ReFT(rank=17, form=form)), describe(model))
    with pytest.raises(ValueError, match=refusal):
        attach(model, Architecture(ReFT(rank=17, form=form)))


@pytest.mark.parametrize("ranks", [Integer(1, 17), Choice(4, 17, 8)])
def test_a_space_that_holds_one_is_refused_when_bound(ranks, build_backbone):
    with pytest.raises(ValueError, match="rank must be at most the width 16"):
        SearchSpace(ReFT(rank=ranks)).bind(describe(build_backbone("bert")))
