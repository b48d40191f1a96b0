"""Networks as they will run: saved models, ONNX in float32 and int8, and what each is checked against.

`latency` measures them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
