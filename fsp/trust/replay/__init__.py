"""Replays over measured tables: what a search, an error law or a latency law would have found on them.

A table is any CSV file with one architecture per row.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
