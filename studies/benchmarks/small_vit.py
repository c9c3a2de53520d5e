"""A small ViT for studies on small images, pretrained here in minutes: no download, no labels.

    python -m peftnas.studies.benchmarks.small_vit --images data/cifar10_small/train_jpeg.npz \\
        --to runs/small_vit --minutes 5

It learns by which of four right angles an image was turned (Gidaris et al., Unsupervised
Representation Learning by Predicting Image Rotations, ICLR 2018), so that the classes of a study
on the same images are still to be learned. The folder is a backbone as any other.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peftnas.studies.tasks.pictures import decoded, images_of

MEAN, STD = 0.5, 0.25
BATCH = 64
RATE = 1e-3
WARMUP = 100  # steps


def main(arguments: list[str] | None = None) -> None:
    """Pretrain and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, required=True, help="npz file, square images")
    parser.add_argument("--to", type=Path, required=True, help="folder of the backbone")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    images = [decoded(image, str(given.images)) for image in images_of(given.images)[0]]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    torch.manual_seed(given.seed)
    model = small_vit(pixels.shape[-1], given.width, given.layers)
    print(pretrain(model, pixels, given.minutes, given.seed))
    save(model, given.to)


def small_vit(size: int, width: int, layers: int) -> Any:
    """A random ViT for images of ``size`` x ``size`` pixels, with patches of an eighth."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        intermediate_size=2 * width,
        image_size=size,
        patch_size=max(1, size // 8),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return ViTModel(config, add_pooling_layer=False)


def pretrain(model: Any, pixels: Tensor, minutes: float, seed: int) -> dict[str, float]:
    """Train a ViT to tell how images were turned.

    Args:
        model: trained in place.
        pixels: (n, 3, S, S) uint8.
        minutes: of training; at least one step is made.
        seed: of the order and of the turns.
    Returns:
        Number of steps, and the accuracy over the last hundred of them.
    """
    head = nn.Linear(model.config.hidden_size, 4)
    learner = torch.optim.AdamW([*model.parameters(), *head.parameters()], RATE, weight_decay=0.05)
    generator = torch.Generator().manual_seed(seed)
    end = time.monotonic() + 60 * minutes
    right: list[float] = []
    model.train()
    while not right or time.monotonic() < end:
        for group in learner.param_groups:
            group["lr"] = RATE * min(1.0, (len(right) + 1) / WARMUP)
        rows = torch.randint(len(pixels), (min(BATCH, len(pixels)),), generator=generator)
        turns = torch.randint(4, (len(rows),), generator=generator)
        flips = torch.rand(len(rows), generator=generator) < 0.5
        batch = _turned(pixels[rows].float() / 255, turns, flips)
        hidden = model(pixel_values=(batch - MEAN) / STD).last_hidden_state
        logits = head(hidden.mean(dim=1))
        loss = nn.functional.cross_entropy(logits, turns)
        learner.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        learner.step()
        right.append(float((logits.argmax(1) == turns).float().mean()))
    return {"steps": len(right), "rotation_accuracy": float(np.mean(right[-100:]))}


def save(model: Any, folder: Path) -> None:
    """Write a ViT and how its images are prepared."""
    model.eval().save_pretrained(folder)
    said = {"image_mean": [MEAN] * 3, "image_std": [STD] * 3, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(said, indent=2) + "\n")


def _turned(images: Tensor, turns: Tensor, flips: Tensor) -> Tensor:
    """Images (B, 3, S, S), some mirrored, each turned by so many right angles."""
    rows = zip(images, turns.tolist(), flips.tolist(), strict=True)
    return torch.stack(
        [torch.rot90(one.flip(-1) if flip else one, turn, (-2, -1)) for one, turn, flip in rows]
    )


if __name__ == "__main__":
    main()
