"""Which candidates to evaluate, which of the evaluated ones to choose, and what is proven of the choice.

This is the extraction itself; errors come from outside.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
