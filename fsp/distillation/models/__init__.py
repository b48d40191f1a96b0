"""Directories of trained models: loading them, telling them apart, checking that they compute what was trained.

Every command that takes a model takes it from here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
