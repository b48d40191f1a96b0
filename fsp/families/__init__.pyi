from .architecture import Architecture as Architecture
from .family import Family as Family
from .family import known_families as known_families
from .family import load_family as load_family
