"""The extraction itself: which candidates to evaluate, which of them to choose, and what is proven about the choice.

The caller provides the error.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
