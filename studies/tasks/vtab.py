"""The tasks of VTAB-1k's suite from the hub: 19 data sets of images in three groups.

Source: Zhai et al., A Large-scale Study of Representation Learning with the Visual Task Adaptation
Benchmark, 2019, section 3; data sets ``clip-benchmark/wds_*``. VTAB-1k trains on 1000 images
of each; here the whole training split is read.
"""

from __future__ import annotations

from peftnas.studies.tasks.arguments import check_known
from peftnas.studies.tasks.images import ImageClassification

HUB_PREFIX = "clip-benchmark/wds_"

# name -> data set behind the prefix
NATURAL = {
    "caltech101": "vtab-caltech101",
    "cifar100": "vtab-cifar100",
    "dtd": "vtab-dtd",
    "flowers102": "vtab-flowers",
    "pets": "vtab-pets",
    "sun397": "sun397",
    "svhn": "vtab-svhn",
}
SPECIALIZED = {
    "eurosat": "vtab-eurosat",
    "patch_camelyon": "vtab-pcam",
    "resisc45": "vtab-resisc45",
    "retinopathy": "vtab-diabetic_retinopathy",
}
STRUCTURED = {
    "clevr_count": "vtab-clevr_count_all",
    "clevr_distance": "vtab-clevr_closest_object_distance",
    "dmlab": "vtab-dmlab",
    "dsprites_location": "vtab-dsprites_label_x_position",
    "dsprites_orientation": "vtab-dsprites_label_orientation",
    "kitti_distance": "vtab-kitti_closest_vehicle_distance",
    "smallnorb_azimuth": "vtab-smallnorb_label_azimuth",
    "smallnorb_elevation": "vtab-smallnorb_label_elevation",
}
VTAB = NATURAL | SPECIALIZED | STRUCTURED


def vtab(name: str) -> ImageClassification:
    """One VTAB task; the hub is asked for it only when the task is opened.

    Args:
        name: a key of ``VTAB``.
    Raises:
        ValueError: if there is no such task.
    """
    source = HUB_PREFIX + VTAB[check_known("VTAB", name, VTAB)]
    return ImageClassification(source, "webp", "cls", metrics="accuracy", name=f"vtab-{name}")
