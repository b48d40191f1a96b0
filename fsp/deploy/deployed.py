"""A saved model in int8 as its user runs it: its size, its outputs for a task's examples and texts, its call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsp.base.errors import InputError
from fsp.deploy.exporting import examples_of, quantise, session, write_onnx
from fsp.deploy.latency.runtimes import feed_of
from fsp.deploy.onnx_graph import require_onnx
from fsp.deploy.serving import LOGITS, SENTENCE, Saved, TextServing, load_saved, tokenised
from fsp.distillation.examples import Batch
from fsp.distillation.tasks.task import Answers, Task
from fsp.families.architecture import Architecture
from fsp.families.family import family_of_type

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_BATCH = 32


@dataclass(frozen=True)
class Deployed:
    """A model in ONNX Runtime.

    Attributes:
        saved: the model in torch.
        path: its ONNX file.
        session: the file, loaded.
    """

    saved: Saved
    path: Path
    session: "InferenceSession"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        config: Any = self.saved.serving.network.config
        return family_of_type(config.model_type).architecture_of(config)

    def call(self, inputs: dict[str, Tensor]) -> Callable[[], object]:
        """Return a call of the network on inputs."""
        feed = feed_of(self.session, inputs)
        return lambda: self.session.run(None, feed)

    def answers(self, task: Task) -> Answers:
        """Return the outputs that a task compares.

        Raises:
            InputError: the file does not return them.
        """
        name = {"embedding": SENTENCE}.get(task.name, LOGITS)
        if name not in self.saved.serving.outputs:
            raise InputError(f"its file returns {', '.join(self.saved.serving.outputs)}, not what {task.name} compares")

        def of_batch(batch: Batch) -> Tensor:
            found = torch.from_numpy(self._run(name, batch.inputs))
            if task.name not in ("masked", "causal"):
                return found
            return found.flatten(0, 1) if batch.sites is None else found[batch.sites.cpu()]

        return Answers(of_batch, self._embedded if name == SENTENCE else None)

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts = (texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH))
        return np.concatenate([self._run(SENTENCE, tokenised(self.saved, part, self.saved.longest)) for part in parts])

    def _run(self, name: str, inputs: Mapping[str, Tensor]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.session.run([name], feed_of(self.session, inputs))[0]
        return found


def deployed(model: Path, folder: Path, sentences: Sequence[str]) -> Deployed:
    """Write a saved model in int8 into a folder and load it; how far it is from the original is not judged here.

    Args:
        model: a model's directory; see `fsp.deploy.serving.load_saved`.
        folder: where the file goes.
        sentences: typical text, on which channels are scaled.

    Raises:
        InputError: the model has no int8, or packages are missing.
        RunFailed: it cannot be exported.
    """
    require_onnx()
    saved = load_saved(model)
    if not isinstance(saved.serving, TextServing):
        raise InputError("int8 is for networks that take text")
    folder.mkdir(parents=True, exist_ok=True)
    path, full = folder / "model.int8.onnx", folder / "model.onnx"
    if not path.is_file():
        write_onnx(saved.serving, full)
        quantise(saved.serving, full, path, examples_of(saved, sentences))
        full.unlink()
    return Deployed(saved, path, session(path))
