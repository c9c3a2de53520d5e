"""What can be chosen: domains, search spaces, architectures. Pure Python and numpy."""

from peftnas.spaces.architecture import Anatomy, Architecture, Placement
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, setting
from peftnas.spaces.sizes.size import Size
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import ByLayer, Maybe, PerGroup, PerLayer
from peftnas.spaces.tree import Dimension, Point

__all__ = [
    "Anatomy",
    "Architecture",
    "BoundSpace",
    "ByLayer",
    "Choice",
    "Configurable",
    "Dimension",
    "Domain",
    "Integer",
    "Maybe",
    "PerGroup",
    "PerLayer",
    "Placement",
    "Point",
    "Real",
    "SearchSpace",
    "Size",
    "Subset",
    "setting",
]
