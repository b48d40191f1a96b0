"""The command line: parses, calls, prints.

Torch and the like load only inside the commands.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
