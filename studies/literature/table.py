"""All spaces with their sizes, as a table: ``python -m peftnas.studies.literature.table``.

The output is ``docs/literature.md``. Sizes need the shape of a backbone, no weights.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from peftnas.search.machine import machine_words
from peftnas.spaces.sizes.size import Size
from peftnas.spaces.space import SearchSpace
from peftnas.studies.literature.autopeft import autopeft
from peftnas.studies.literature.llm_adapters import llm_adapters
from peftnas.studies.literature.nas_for_peft import nas_for_peft
from peftnas.studies.literature.nas_pet import nas_pet_bitfit, nas_pet_lora
from peftnas.studies.literature.noah import FEW_SHOT, VTAB, noah
from peftnas.studies.literature.peftnas_default import peftnas_default
from peftnas.studies.literature.s3pet import s3pet_lora, s3pet_mix
from peftnas.studies.literature.s4 import s4
from peftnas.studies.literature.unipelt import unipelt, unipelt_central

_HEAD = """# Spaces of the literature

Written by `python -m peftnas.studies.literature.table > docs/literature.md`. Each file of
`studies/literature/` draws its space, says where it comes from and how it differs from the paper,
and is a study: `peftnas run autopeft`; `peftnas studies` lists the names.

**Points** are assignments of what is drawn, as papers count; **architectures** are those that
train apart on the backbone of the paper. Seconds are CPU time for both
together, on one core ({machine}; {date}).

| space | backbone | published | points | architectures | seconds |
|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Row:
    """One published space.

    Attributes:
        name: of the row.
        file: its module in this folder.
        space: on the backbone of the paper.
        backbone: its name.
        config: makes the config of that backbone.
        published: the cardinality; ``None``: the paper has none.
        formula: the same as the paper writes it.
    """

    name: str
    file: str
    space: SearchSpace
    backbone: str
    config: Callable[[], Any]
    published: int | None
    formula: str


def bert_base() -> Any:
    """12 layers of width 768."""
    from transformers import BertConfig

    return BertConfig()


def bert_large() -> Any:
    """24 layers of width 1024."""
    from transformers import BertConfig

    return BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )


def t5_large() -> Any:
    """24 + 24 layers of width 1024."""
    from transformers import T5Config

    return T5Config(
        d_model=1024, d_kv=64, d_ff=4096, num_layers=24, num_decoder_layers=24, num_heads=16
    )


def vit_base() -> Any:
    """12 layers of width 768."""
    from transformers import ViTConfig

    return ViTConfig()


def llama_7b() -> Any:
    """32 layers of width 4096."""
    from transformers import LlamaConfig

    return LlamaConfig()


def roberta_base() -> Any:
    """12 layers of width 768."""
    from transformers import RobertaConfig

    return RobertaConfig()


_NAS_FOR_PEFT = 21925417764539757373644103381064277994800

ROWS = (
    Row(
        "AutoPEFT, base",
        "autopeft",
        autopeft(),
        "bert-base",
        bert_base,
        5_446_350,
        "(11^3 - 1)(2^12 - 1)",
    ),
    Row(
        "AutoPEFT, large",
        "autopeft",
        autopeft(),
        "bert-large",
        bert_large,
        22_313_695_950,
        "(11^3 - 1)(2^24 - 1)",
    ),
    Row("S3PET, mix", "s3pet", s3pet_mix(24, 24), "T5-large", t5_large, 2**916, "2^916"),
    Row("S3PET, LoRA", "s3pet", s3pet_lora(), "T5-large", t5_large, 2**288, "2^288"),
    Row(
        "NOAH, few-shot",
        "noah",
        noah(FEW_SHOT),
        "ViT-B",
        vit_base,
        4950828515936862208000,
        "(4^3 + 4^6 + 4^9 + 4^12)^3",
    ),
    Row("NOAH, VTAB", "noah", noah(VTAB), "ViT-B", vit_base, 551_880**3, "551,880^3"),
    Row("S4", "s4", s4(), "roberta-base", roberta_base, 11_390_625, "5 * 3 * 15 * 15^4"),
    Row("UniPELT", "unipelt", unipelt(12), "bert-base", bert_base, None, "-"),
    Row(
        "UniPELT, central gate", "unipelt", unipelt_central(12), "bert-base", bert_base, None, "-"
    ),
    Row("LLM-Adapters", "llm_adapters", llm_adapters(), "llama-7b", llama_7b, 40, "4 + 3 * 3 * 4"),
    Row("NAS-PET, biases", "nas_pet", nas_pet_bitfit(), "bert-base", bert_base, 2**98, "2^98"),
    Row("NAS-PET, LoRA", "nas_pet", nas_pet_lora(), "bert-base", bert_base, None, "2^(16 * 72)"),
    Row(
        "NAS_for_PEFT",
        "nas_for_peft",
        nas_for_peft(),
        "bert-base",
        bert_base,
        _NAS_FOR_PEFT,
        "2 * sum of C(12, k) 2170^k, k = 2 .. 12",
    ),
    Row(
        "peftnas default", "peftnas_default", peftnas_default(), "bert-base", bert_base, None, "-"
    ),
)


def measure(row: Row) -> tuple[Size, Size, float]:
    """Points, architectures, and the seconds that it took to count both."""
    from peftnas.methods import describe

    anatomy = describe(row.config())
    start = time.process_time()
    bound = row.space.bind(anatomy)
    raw, size = bound.raw_size(), bound.size()
    return raw, size, time.process_time() - start


def line(row: Row, raw: Size, size: Size, seconds: float) -> str:
    """The row in Markdown, with what :func:`measure` gave."""
    cells = (
        f"[{row.name}](../studies/literature/{row.file}.py)",
        row.backbone,
        row.formula,
        _words(raw),
        _words(size),
        f"{seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _words(size: Size) -> str:
    return _number(size.low) if size.exact else f"{_number(size.low)} .. {_number(size.high)}"


def _number(number: int) -> str:
    if number < 10**15:
        return f"{number:,}"
    exponent = number.bit_length() - 1
    if number == 2**exponent:
        return f"2^{exponent}"
    digits = str(number)
    return f"{digits[0]}.{digits[1:3]}e{len(digits) - 1}"


def main() -> None:
    """Print the table."""
    print(_HEAD.format(machine=machine_words(), date=date.today()))
    for row in ROWS:
        print(line(row, *measure(row)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
