"""What every other package stands on and that knows nothing of networks: errors, files, progress, the machine.

Nothing here imports another package of fsp, and loading it loads no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
