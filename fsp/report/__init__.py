"""What a run leaves for people: figures and one self-contained page.

`figures` holds every figure for notebooks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
