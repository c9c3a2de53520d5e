"""Families of backbones known to the package, one literal each."""

from peftnas.methods.anatomies.albert import ALBERT
from peftnas.methods.anatomies.bart import BART
from peftnas.methods.anatomies.bert import BERT
from peftnas.methods.anatomies.deberta import DEBERTA
from peftnas.methods.anatomies.distilbert import DISTILBERT
from peftnas.methods.anatomies.family import Family
from peftnas.methods.anatomies.gpt2 import GPT2
from peftnas.methods.anatomies.gpt_neox import GPT_NEOX
from peftnas.methods.anatomies.llama import GEMMA, GEMMA2, LLAMA
from peftnas.methods.anatomies.mamba import MAMBA
from peftnas.methods.anatomies.opt import OPT, OPT_POST_NORM
from peftnas.methods.anatomies.t5 import T5, T5_GATED
from peftnas.methods.anatomies.vision import CLIP, VIT
from peftnas.methods.anatomies.whisper import WHISPER

FAMILIES: tuple[Family, ...] = (
    BERT,
    DEBERTA,
    DISTILBERT,
    ALBERT,
    GPT2,
    GPT_NEOX,
    LLAMA,
    GEMMA,
    GEMMA2,
    OPT,
    OPT_POST_NORM,
    T5,
    T5_GATED,
    BART,
    VIT,
    CLIP,
    WHISPER,
    MAMBA,
)

__all__ = [
    "ALBERT",
    "BART",
    "BERT",
    "CLIP",
    "DEBERTA",
    "DISTILBERT",
    "FAMILIES",
    "GEMMA",
    "GEMMA2",
    "GPT2",
    "GPT_NEOX",
    "LLAMA",
    "MAMBA",
    "OPT",
    "OPT_POST_NORM",
    "T5",
    "T5_GATED",
    "VIT",
    "WHISPER",
    "Family",
]
