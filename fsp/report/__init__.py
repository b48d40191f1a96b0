"""The readable results of a run: figures and one self-contained page.

`figures` lists all figures, for notebooks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
