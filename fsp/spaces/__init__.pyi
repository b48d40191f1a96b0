from .loading import installed_spaces as installed_spaces
from .loading import load_space as load_space
from .loading import shipped_spaces as shipped_spaces
from .space import SearchSpace as SearchSpace
from .space import family_of as family_of
