"""The environment that latencies depend on besides the network: processor, threads, versions."""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fsp.base.timing import environment


def fingerprint() -> dict[str, Any]:
    """Return the machine and the software, with torch's current number of threads, as a JSON-like value.

    Two measurements with equal fingerprints are comparable, apart from the machine's other load.
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
    """Return the load average of the last minute, or None on systems that do not report it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
