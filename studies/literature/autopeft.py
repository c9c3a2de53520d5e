"""AutoPEFT: serial and parallel adapter and prefix, one size each, on or off by layer.

    SearchSpace        not the bare head
    |- adapter         serial (pfeiffer), bottleneck in SIZES   -+
    |- adapter2        parallel, bottleneck in SIZES             +- in the same layers
    `- prefix          length in SIZES                          -+

    SIZES = 0, 1, 3, 6, 12, 24, 48, 96, 192, 384, 768;  layers = any set of them

Source: Zhou et al. 2301.12132; the code released with it.

Published: 10 non-zero sizes beside 0, so (11^3 - 1) * (2^12 - 1) = 5,446,350 on bert-base; on the
large models 1330 * (2^24 - 1) = 22,313,695,950. All-zero sizes and no layer at all are the bare
head, which is left out.

Differences to the paper:
- the code trains the prefix through a network (bottleneck 800) that its counts leave out; here the
  prefix is trained itself, so that the parameters told are those trained. The two reach the same.
- on models of width 1024 the code keeps the sizes of 768; so does this.
- learning rate: 1e-4 for all there.

The default backbone has six layers of width 384: there without the size 768, which leaves
(10^3 - 1) * (2^6 - 1) = 62,937 points.

    peftnas run studies/literature/autopeft.py --trials 200
"""

from __future__ import annotations

from collections.abc import Sequence

from peftnas.methods import Adapter, Prefix
from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.ties import Shared
from peftnas.studies.literature.on_default import study_on_default

SIZES = (0, 1, 3, 6, 12, 24, 48, 96, 192, 384, 768)


def autopeft(sizes: Sequence[int] = SIZES) -> SearchSpace:
    """The space of any backbone; its layers are those of the backbone.

    Args:
        sizes: of each module; 0: absent.
    """
    size = Choice(*sizes)
    layers = Shared("layers", Subset.of_layers(min_size=0))
    return SearchSpace(
        Adapter(bottleneck=size, layers=layers),
        Adapter(insertion="parallel", bottleneck=size, layers=layers),
        Prefix(length=size, layers=layers),
        at_least_one_method=True,
    )


space = autopeft()
study = study_on_default("autopeft", autopeft(sizes=(0, 1, 3, 6, 12, 24, 48, 96, 192, 384)))
