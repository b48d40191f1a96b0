"""fsp: optimal subarchitecture extraction.

The public names are listed in the stub beside this file; each loads its module, and with it torch and the like, only
when used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
