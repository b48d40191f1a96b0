"""Latency of networks, measured in rounds in several runtimes, and the calibration that predicts it.

The law itself is `fsp.objectives.latency`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
