"""Methods that choose the next candidate by a model of the evaluated ones: fsp's own law and Optuna's samplers.

`FPTASSampler` offers fsp's law to any Optuna study.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
