"""The three objectives size p(f), speed i(f) and error e(f), as far as they can be computed without training.

Sizes, operations and memory are closed forms; latency and errors between evaluations are fitted laws.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
