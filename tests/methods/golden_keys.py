"""The golden keys: 200 architectures on tiny backbones and what their keys were.

``python -m tests.methods.golden_keys`` works all keys of ``golden_keys.json`` out anew, after a
change that is meant to change them; studies of before then begin anew. An architecture joins the
file by a line with its backbone and its methods (fields at their defaults left out).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peftnas.methods import describe
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.spaces import Architecture
from peftnas.spaces.architecture import FORMAT
from peftnas.spaces.keys import function_key, train_key

FILE = Path(__file__).with_name("golden_keys.json")


def entries() -> list[dict[str, Any]]:
    """Each with its backbone, methods, train_key and function_key."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def keys_of(entry: dict[str, Any], anatomy: Anatomy) -> dict[str, str]:
    """The two keys as they are now."""
    architecture = Architecture.from_dict({"format": FORMAT, "methods": entry["methods"]})
    placements = anatomy.place(anatomy.canonical(architecture))
    return {
        "train_key": train_key(placements),
        "function_key": function_key(placements, anatomy),
    }


def anatomies(names: set[str]) -> dict[str, Anatomy]:
    """Of the tiny backbones of these names."""
    return {name: describe(CONFIGS[name]()) for name in sorted(names)}


def write(found: list[dict[str, Any]]) -> None:
    """Put the keys of now into the file, one architecture a line."""
    known = anatomies({entry["backbone"] for entry in found})
    lines = [json.dumps(one | keys_of(one, known[one["backbone"]])) for one in found]
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    write(entries())
