"""Certificates: bounds on what no evaluation has shown, and the record that anybody can recompute.

docs/certificate.md says what one claims and under which assumptions.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
