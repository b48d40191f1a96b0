"""Text: reading files, cutting text into passages and sentences, and splitting it into train, validation and test.

A file that does not follow the rules of its format is refused.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
