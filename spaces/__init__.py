"""What can be chosen: domains, search spaces, architectures. Pure Python and numpy."""

from peftnas.spaces.architecture import Anatomy, Architecture, Placement
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.constraints import at_least, max_stored_bytes, max_train_memory_bytes
from peftnas.spaces.dimensions import Dimension
from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, setting
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.groupings import GROUPINGS
from peftnas.spaces.relations import forbid, relation
from peftnas.spaces.sizes.size import Size
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import ByGroup, ByLayer, Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree import Point

__all__ = [
    "Anatomy",
    "Architecture",
    "BoundSpace",
    "ByGroup",
    "ByLayer",
    "Choice",
    "Configurable",
    "Dimension",
    "Domain",
    "GROUPINGS",
    "Grouped",
    "Integer",
    "Maybe",
    "PerGroup",
    "PerLayer",
    "Placement",
    "Point",
    "Real",
    "SearchSpace",
    "Shared",
    "Size",
    "Subset",
    "Switch",
    "at_least",
    "forbid",
    "max_stored_bytes",
    "max_train_memory_bytes",
    "relation",
    "setting",
]
