"""Text: what files hold, and how it is cut into passages and sentences and split into parts.

A format is read by what it is, or refused.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
