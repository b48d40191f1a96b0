"""Network families: a family turns an architecture into sizes, operations and a real network.

The families of fsp are the modules `bert`, `gpt2`, `mlp`, `modernbert` and `vit`; `Family` is their protocol.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
