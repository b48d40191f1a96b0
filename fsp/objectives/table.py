"""p and i of architectures as a table."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fsp.objectives.counts import operations, sizes
from fsp.objectives.latency import Calibration
from fsp.spaces.space import SearchSpace


def objectives_of(
    space: SearchSpace, points: NDArray[np.int64], calibration: Calibration | None = None, also: Collection[str] = ()
) -> pd.DataFrame:
    """Return p and i of an `n x d` array of architectures as a table, parameters first.

    A calibration adds the column `latency`, in predicted milliseconds. The column `peak_memory` (bytes), which takes
    seconds to count, is added if `also` names it.
    """
    table = pd.DataFrame({**space.columns(points), **sizes(space, points), "operations": operations(space, points)})
    if calibration is not None:
        table["latency"] = calibration(points)
    if "peak_memory" in also:
        from fsp.objectives.memory import peak_memory

        table["peak_memory"] = peak_memory(space, points)
    return table


def objectives_at(space: SearchSpace, architecture: Mapping[str, int], also: Collection[str] = ()) -> dict[str, int]:
    """Return p and i of one architecture, which may be any shape of the family; `also` as in `objectives_of`."""
    row = objectives_of(space, space.point(architecture), also=also).iloc[0]
    return {str(name): int(value) for name, value in row.items() if name not in space.names}


def objectives_at_maximum(
    space: SearchSpace, calibration: Calibration | None = None, also: Collection[str] = ()
) -> dict[str, float]:
    """Return p and i of T, and with a calibration its measured `latency`; `also` as in `objectives_of`."""
    maximum: dict[str, float] = {**objectives_at(space, space.maximum, also)}
    return maximum if calibration is None else {**maximum, "latency": calibration.maximum_ms}
