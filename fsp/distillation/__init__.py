"""Making smaller networks out of a trained one: T and text are read, candidates cut, healed and trained on T's outputs.

The surrogate error of a search and the final student come from the same code; `pretraining` is the long way.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
