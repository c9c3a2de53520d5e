"""Backbone: a pretrained network on disk, found by folder or hub name, and read from there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftnas.search.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from peftnas.methods.anatomies.family import Family
    from peftnas.methods.anatomy import Anatomy

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]  # of a hub model: no other weights
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")
PICTURES = "preprocessor_config.json"  # how images are prepared, where it reads some
_CHUNK = 1 << 20
_NO_LIMIT = 1 << 20  # tokens


class BackboneError(UsageError):
    """A backbone that is not there, or that cannot be read."""


@dataclass(frozen=True)
class Backbone:
    """A folder with ``config.json``, a tokenizer (or ``preprocessor_config.json``) and weights.

    Weights lie in safetensors.

    Attributes:
        folder: where they lie.
        name: how to call it; by default the folder's name.
        sha256: of the weights, hex; worked out when empty, else checked.
        family: description of a family that the package does not know.
    Raises:
        BackboneError: if the folder, its config, tokenizer or weights are missing, or if the
            weights are not those that ``sha256`` names.
    """

    folder: Path
    name: str = ""
    sha256: str = ""
    family: Family | None = None

    def __post_init__(self) -> None:
        folder = Path(self.folder).expanduser().absolute()
        if not folder.is_dir():
            raise BackboneError(f"backbone folder {str(folder)!r} does not exist; check the path")
        _check_config(folder)
        # without these transformers makes up a tokenizer that knows no word
        if not any((folder / name).is_file() for name in (*_VOCABULARIES, PICTURES)):
            raise BackboneError(
                f"backbone folder {str(folder)!r} has no tokenizer (none of "
                f"{', '.join(_VOCABULARIES)}); save it beside the weights"
            )
        found = weights_sha256(folder)
        if self.sha256 and found != self.sha256:
            raise BackboneError(
                f"the weights in {str(folder)!r} have sha256 {found[:8]}..., expected "
                f"{self.sha256[:8]}...; name the folder of the right weights"
            )
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "name", self.name or folder.name)
        object.__setattr__(self, "sha256", found)

    @property
    def reads_words(self) -> bool:
        """Whether there is a tokenizer; a network on images has none."""
        return any((self.folder / name).is_file() for name in _VOCABULARIES)

    def config(self) -> PretrainedConfig:
        """A fresh copy of its configuration."""
        from transformers import AutoConfig

        with _quiet(), _readable(self.folder, "config.json"):
            return AutoConfig.from_pretrained(self.folder)  # type: ignore[no-any-return]

    def anatomy(self) -> Anatomy:
        """Its sites, layers and counts.

        Raises:
            BackboneError: if its family is not described; it says how to describe one.
        """
        from peftnas.methods.describe import UnsupportedBackboneError, describe

        try:
            return describe(self.config(), self.family)
        except UnsupportedBackboneError as error:
            raise BackboneError(f"backbone {self.name!r}: {error}") from error

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """A fresh tokenizer."""
        from transformers import AutoTokenizer

        with _quiet(), _readable(self.folder, "the tokenizer"):
            return AutoTokenizer.from_pretrained(self.folder)

    def check(self) -> None:
        """Read config, tokenizer and the headers of the weights, so that damage is found early.

        Raises:
            BackboneError: if one of them cannot be read.
        """
        self.config()
        self.tensor_names()
        if self.reads_words:
            self.tokenizer()

    def tensor_names(self) -> frozenset[str]:
        """The names of the tensors in its files.

        Raises:
            BackboneError: if a header cannot be read.
        """
        from safetensors import safe_open

        names: set[str] = set()
        with _readable(self.folder, "the weights"):
            for file in _weight_files(self.folder):
                with safe_open(file, framework="pt") as tensors:
                    names.update(tensors.keys())
        return frozenset(names)

    def load(
        self, dtype: str = "float32", device: str = "cpu", auto: str = "AutoModel"
    ) -> PreTrainedModel:
        """The network without a task head: frozen, in eval mode, with its weights.

        Args:
            dtype: "float32" or "bfloat16".
            device: such as "cpu" or "cuda".
            auto: class of transformers that loads it; others keep a head that it was pretrained
                with, such as ``AutoModelForCausalLM``.
        Raises:
            BackboneError: if the weights cannot be read or do not belong to the config.
        """
        import torch
        import transformers

        # what the file may leave open (a pooler) is drawn: the same in every process
        with torch.random.fork_rng(), _quiet(), _readable(self.folder, "the weights"):
            torch.manual_seed(0)
            model, info = getattr(transformers, auto).from_pretrained(
                self.folder,
                dtype=getattr(torch, dtype),
                attn_implementation=attention_of(dtype, device),
                output_loading_info=True,
            )
        missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
        if missing:
            raise BackboneError(
                f"the weights in {str(self.folder)!r} lack {len(missing)} tensors of the config, "
                f"such as {missing[0]!r}; name a folder with matching weights"
            )
        for tensor in (*model.parameters(), *model.buffers()):
            # weights read from a file lie at an address that kernels round differently for
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
        model.to(device)
        model.requires_grad_(False)
        return model.eval()  # type: ignore[no-any-return]

    def pad_id(self) -> int:
        """The token to fill short rows with; a mask hides it, so any will do where none is set."""
        config, tokenizer = self.config(), self.tokenizer()
        for known in (
            getattr(config, "pad_token_id", None),
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
        ):
            if isinstance(known, int):
                return known
        return 0

    def longest(self) -> int:
        """The largest number of tokens that it takes."""
        config = self.config()
        # without a table of positions nothing sets a limit (mamba)
        positions: int = getattr(config, "max_position_embeddings", _NO_LIMIT)
        if config.model_type in ("roberta", "xlm-roberta", "camembert"):
            positions -= config.pad_token_id + 1  # the first positions belong to padding
        return positions


Source = str | Path | Backbone | Callable[[], "Backbone | str | Path"]


def find_backbone(source: Source, *, base: Path | None = None) -> Backbone:
    """The backbone that a study or ``--backbone`` names.

    Args:
        source: a folder, a name on the Hugging Face hub, a Backbone, or a function that gives one.
        base: folder that a relative path is looked for in, after the current one.
    Raises:
        BackboneError: if there is none, or it cannot be read.
    """
    if isinstance(source, Backbone):
        return source
    if callable(source):
        return find_backbone(source(), base=base)
    if not isinstance(source, str | Path):
        raise BackboneError(
            "a study's backbone must be a folder, a name on the hub, a Backbone, or a function "
            f"that gives one of these, got {source!r}"
        )
    folder, name = _find_folder(source, base, _FILES)
    return Backbone(folder, name=name)


def find_config(source: str | Path, *, base: Path | None = None) -> tuple[str, PretrainedConfig]:
    """Name and configuration of a backbone that needs neither weights nor a tokenizer here.

    Args:
        source: a folder, a file such as ``config.json``, or a name on the Hugging Face hub.
        base: folder that a relative path is looked for in, after the current one.
    Raises:
        BackboneError: if there is none, or it cannot be read.
    """
    from transformers import AutoConfig

    file = Path(source).expanduser()
    if not file.is_file():
        folder, name = _find_folder(source, base, ["config.json"])
        file, name = folder / "config.json", name or folder.name
        _check_config(folder)
    else:
        name = file.name if file.name != "config.json" else file.absolute().parent.name
    with _quiet(), _readable(file.parent, file.name):
        return name, AutoConfig.from_pretrained(file)


def _find_folder(source: str | Path, base: Path | None, patterns: list[str]) -> tuple[Path, str]:
    """The folder that a source names, and its name on the hub; "" where it is a folder here."""
    folders = [Path(source).expanduser()]
    if base is not None:
        folders.append(base / source)
    for folder in folders:
        if folder.is_dir():
            return folder, ""
    if _looks_like_a_path(source):
        raise BackboneError(f"backbone folder {str(source)!r} does not exist; check the path")
    return _fetch(str(source), patterns), str(source)


def _check_config(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"backbone folder {str(folder)!r} has no config.json; name the folder that "
            "save_pretrained wrote"
        )


def weights_sha256(folder: Path) -> str:
    """The sha256 of all safetensors of a folder, in the order of their names; hex.

    Raises:
        BackboneError: if there are none.
    """
    digest = hashlib.sha256()
    for file in _weight_files(folder):
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise BackboneError(
            f"backbone folder {str(folder)!r} has no weights: model.safetensors is missing; "
            "convert other formats with save_pretrained"
        )
    return files


def _looks_like_a_path(source: str | Path) -> bool:
    text = str(source)
    return (
        isinstance(source, Path)
        or text.startswith((".", "/", "~"))
        or text.count("/") > 1
        or "\\" in text
        or not text
    )


def _fetch(name: str, patterns: list[str]) -> Path:
    """The folder of a hub model with its files of these patterns, downloaded unless cached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (OSError, HFValidationError, HfHubHTTPError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(
            f"backbone {name!r} is no folder here and cannot be fetched from the hub ({first}); "
            "name a folder with --backbone"
        ) from error


def attention_of(dtype: str, device: str) -> str | None:
    """The attention to load with; ``None`` leaves it to transformers."""
    # fused attention in bfloat16 is many times slower than plain products on a CPU
    return "eager" if dtype == "bfloat16" and device == "cpu" else None


@contextmanager
def _readable(folder: Path, what: str) -> Iterator[None]:
    """Turns any failure to read ``what`` into one sentence."""
    try:
        yield
    except BackboneError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors each raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"{what} in backbone folder {str(folder)!r} cannot be read: {first}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the load reports and progress bars of transformers off the terminal."""
    from transformers.utils import logging

    level: Any = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
