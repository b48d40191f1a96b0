"""Tasks: what a network is for, what its outputs are, on which inputs, and how two networks are compared.

Its public names are listed in `__init__.pyi` and load lazily.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
