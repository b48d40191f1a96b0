"""Directories of trained models: loading and identifying them, and checking that they compute what was trained.

Every command that takes a model loads it with this package.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
