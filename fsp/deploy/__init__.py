"""Deployed networks: saved models, their ONNX export in float32 and int8, and its check against the original.

`latency` measures them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
