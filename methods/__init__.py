"""What can be attached: PEFT methods, anatomies of backbones, attach and detach, exact counts."""

from peftnas.methods import presets
from peftnas.methods.adalora import AdaLoRA
from peftnas.methods.adamix import AdaMix
from peftnas.methods.adapter import Adapter
from peftnas.methods.anatomies.family import Family, Fused, Stack, SublayerPaths, Tap
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules, attach
from peftnas.methods.base import Method, Placement
from peftnas.methods.bitfit import BitFit
from peftnas.methods.central_gate import GatedLoRAPrefix
from peftnas.methods.coda import CoDA
from peftnas.methods.compacter import Compacter
from peftnas.methods.costs import count, stored_bytes, stored_parameters
from peftnas.methods.cross_attention import CrossAttentionTuning
from peftnas.methods.describe import UnsupportedBackboneError, describe
from peftnas.methods.dora import DoRA
from peftnas.methods.dylora import DyLoRA
from peftnas.methods.full import FullFineTuning
from peftnas.methods.handles import attached_to
from peftnas.methods.ia3 import IA3
from peftnas.methods.linear_adapter import LinearAdapter
from peftnas.methods.llama_adapter import LlamaAdapter
from peftnas.methods.ln_tuning import LNTuning
from peftnas.methods.loha import LoHa
from peftnas.methods.lokr import LoKr
from peftnas.methods.lora import LoRA
from peftnas.methods.oft import OFT
from peftnas.methods.predicted_costs import Costs, TrainMemory, costs
from peftnas.methods.prefix import Prefix
from peftnas.methods.prompt import Prompt
from peftnas.methods.ptuning import PTuning
from peftnas.methods.reft import ReFT
from peftnas.methods.saving import load, save
from peftnas.methods.side_by_side import SideBySide, attach_side_by_side
from peftnas.methods.sora import SoRA
from peftnas.methods.sparse_adapter import SparseAdapter
from peftnas.methods.ssf import SSF
from peftnas.methods.vera import VeRA
from peftnas.methods.vpt import VPT
from peftnas.spaces.architecture import Architecture

METHODS: dict[str, type[Method]] = {
    method.kind: method
    for method in (
        *(Adapter, LinearAdapter, Compacter, SparseAdapter, AdaMix, CoDA),
        *(LoRA, DoRA, DyLoRA, AdaLoRA, SoRA, VeRA, LoHa, LoKr, OFT),
        *(Prefix, Prompt, PTuning, VPT, LlamaAdapter, GatedLoRAPrefix),
        *(IA3, SSF, ReFT),
        *(BitFit, LNTuning, CrossAttentionTuning, FullFineTuning),
    )
}

__all__ = [
    "presets",
    "IA3",
    "VPT",
    "PTuning",
    "LlamaAdapter",
    "LinearAdapter",
    "SparseAdapter",
    "SoRA",
    "DyLoRA",
    "AdaMix",
    "AdaLoRA",
    "VeRA",
    "SSF",
    "OFT",
    "LoKr",
    "LoHa",
    "LNTuning",
    "DoRA",
    "CrossAttentionTuning",
    "METHODS",
    "Adapter",
    "Anatomy",
    "Architecture",
    "AttachedModules",
    "BitFit",
    "CoDA",
    "Compacter",
    "Costs",
    "Family",
    "FullFineTuning",
    "Fused",
    "GatedLoRAPrefix",
    "LoRA",
    "Method",
    "Placement",
    "Prefix",
    "Prompt",
    "ReFT",
    "Stack",
    "SublayerPaths",
    "Tap",
    "TrainMemory",
    "UnsupportedBackboneError",
    "SideBySide",
    "attach",
    "attach_side_by_side",
    "attached_to",
    "costs",
    "count",
    "describe",
    "load",
    "save",
    "stored_bytes",
    "stored_parameters",
]
