"""Fine-tuning text classifiers with scarce data: Agora, its parts as pure functions, and its rivals.

`agora` runs the algorithm of arXiv 2010.07990 on files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
