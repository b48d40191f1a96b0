"""How far a result can be trusted: report cards of an error, agreement with long trainings, replays of tables.

Nothing here is needed to search.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
