"""Search spaces: named parameters with their choices, rules between them, and the maximum point T.

A space comes from a file, an installed package or Python code, and lists all its candidates as one array.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
