"""Certificates: bounds on errors that were not measured, and the record from which anyone can recompute them.

docs/certificate.md describes what a certificate claims and under which assumptions.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
