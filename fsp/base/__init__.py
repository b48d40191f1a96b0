"""What every other package builds on, independent of networks: errors, files, progress, the machine.

Nothing here imports another package of fsp, and importing it does not import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
