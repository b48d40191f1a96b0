"""Making smaller networks from a trained one: read T and text, cut and heal candidates, train them on T's outputs.

The surrogate error of a search and the final student come from the same code; `pretraining` holds full training runs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
