"""Evaluations that outlive a process: a study keeps each of them once.

Processes that share a study share the work, coordinated by locks of the operating system.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
