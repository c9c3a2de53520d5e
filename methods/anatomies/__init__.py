"""Families of backbones known to the package, one literal each."""

from peftnas.methods.anatomies.bert import BERT
from peftnas.methods.anatomies.distilbert import DISTILBERT
from peftnas.methods.anatomies.family import Family
from peftnas.methods.anatomies.llama import LLAMA

FAMILIES: tuple[Family, ...] = (BERT, DISTILBERT, LLAMA)

__all__ = ["BERT", "DISTILBERT", "FAMILIES", "LLAMA", "Family"]
