"""What latencies depend on besides the network: processor, threads, versions."""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fsp.base.timing import environment


def fingerprint() -> dict[str, Any]:
    """Return the machine and the software, with torch's present number of threads, as a JSON-like value.

    Two measurements with equal fingerprints can be compared, apart from what else the machine was doing.
    """
    known = environment()
    known.pop("runtime")
    versions: dict[str, str | None] = {}
    for package in ("torch", "onnxruntime"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {**known, "processors": os.cpu_count(), "dtype": "float32", **versions}


def load() -> float | None:
    """Return how many processes wanted a processor over the last minute, or None where that is not known."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
