"""The command line: it parses arguments, calls the library and prints.

Torch and other heavy packages are imported only inside the commands.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
