import numpy as np
import pytest

from fsp.objectives import counts


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 11])
def test_blocks_change_nothing(rows, monkeypatch):
    monkeypatch.setattr(counts, "_ROWS", 4)
    points = np.arange(2 * rows).reshape(rows, 2)
    found = counts.in_blocks(lambda p: {"product": p[:, 0] * p[:, 1], "constant": np.int64(7)}, points)
    assert found["product"].tolist() == (points[:, 0] * points[:, 1]).tolist()
    assert found["constant"].tolist() == [7] * rows
