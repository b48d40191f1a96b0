"""The task `classes` where T's outputs are no classes."""

import numpy as np
import pytest

from fsp.base.errors import InputError
from fsp.distillation.inputs import prepare
from fsp.distillation.models.own import save_own
from fsp.families import mlp
from fsp.spaces.space import SearchSpace

SIZES = {"inputs": 4, "outputs": 1}


def test_one_number_per_sample_is_no_class(tmp_path):
    save_own(mlp.build({"D": 1, "H": 8}, SIZES), mlp, tmp_path / "t")
    np.savez(tmp_path / "x.npz", values=np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32))
    space = SearchSpace("toy", {"D": (1,), "H": (4, 8)}, (), {"D": 1, "H": 8}, "mlp", SIZES)
    with pytest.raises(InputError, match="teacher t returns one number per sample"):
        prepare(space, teacher=str(tmp_path / "t"), corpus=[tmp_path / "x.npz"])
