"""The student with its losses in one module, as wrappers for several processes need it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fsp.distillation.losses import cosine_distance, cross_entropy, relation_divergence, squared_distance
from fsp.distillation.pretraining.batches import Batch
from fsp.distillation.pretraining.models import LanguageModel
from fsp.distillation.pretraining.teacher_outputs import TeacherOutputs
from fsp.distillation.pretraining.vocabulary import head_losses

_KINDS_OF_RELATIONS = 3  # queries, keys, values


class StudentWithLosses(nn.Module):
    """A student, a learned projection of its states if the teacher's are wider, and their losses.

    Args:
        student: the model.
        weights: weights of the losses.
        temperature: temperature of the divergence.
        teacher_width: the teacher's hidden size.
        relation_heads: number of heads of the relation loss.
    """

    def __init__(
        self,
        student: LanguageModel,
        weights: Mapping[str, float],
        *,
        temperature: float = 1.0,
        teacher_width: int | None = None,
        relation_heads: int = 1,
    ):
        super().__init__()
        self.student = student
        self.network = student.network
        self.weights = dict(weights)
        self.temperature = temperature
        self.relation_heads = relation_heads
        width = student.architecture["H"]
        self.projection: nn.Linear | None = None
        if (self.weights["cosine"] or self.weights["mse"]) and teacher_width not in (None, width):
            self.projection = nn.Linear(width, teacher_width)
            nn.init.orthogonal_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)

    def project(self, states: Tensor) -> Tensor:
        """Return token states `n x H` at the teacher's width."""
        return self.projection(states) if self.projection is not None else states

    def join_table_gradients(self) -> None:
        """Make the token table's gradient sparse if the table is also the matrix of the vocabulary layer.

        It is then added into the layer's gradient; a dense gradient would take the memory of a second table. Not for
        wrappers for several processes, which wait for a gradient from autograd, nor for compiled bodies.
        """
        table = self.network.get_input_embeddings()
        reads_logits = self.weights["kl"] or self.weights["mlm"]
        if reads_logits and table.weight is self.student.vocabulary_layer.weight:
            table.sparse = True

    def counts(self, positions: int, tokens: int) -> dict[str, int]:
        """Return the divisors of the sums of the losses, for the numbers of positions and tokens in a global batch."""
        related = tokens * self.relation_heads * _KINDS_OF_RELATIONS
        return {name: related if name == "relation" else positions for name in self.weights}

    def forward(
        self, batch: Batch, taught: TeacherOutputs | None, counts: Mapping[str, int] | None
    ) -> dict[str, Tensor]:
        """Return the weighted `total`, with gradient, and the value of each loss, unweighted and without gradient.

        Args:
            batch: the student's input and the tokens to predict.
            taught: the teacher's outputs; None without a teacher.
            counts: the divisors of the sums, see `counts`; None to measure instead, see `measure`.
        """
        if counts is None:
            return self.measure(batch, taught)
        weights = self.weights
        states, relations = self.student.forward(batch.tokens, relations=bool(weights["relation"]))
        asked = states.flatten(0, 1)[batch.positions]
        total = torch.zeros((), device=states.device)
        found: dict[str, Tensor] = {}
        if weights["kl"] or weights["mlm"]:

            def terms(logits: Tensor, rows: slice) -> dict[str, Tensor]:
                sums = {}
                if weights["mlm"]:
                    sums["mlm"] = cross_entropy(logits, batch.labels[rows])[0]
                if weights["kl"]:
                    assert taught is not None
                    sums["kl"] = taught.divergence(logits, rows, self.temperature)[0]
                return sums

            read = self.student.transform(asked)
            scale = 1 / counts["mlm"]  # equal to counts["kl"]
            layer = self.student.vocabulary_layer
            joined = self.network.get_input_embeddings().sparse
            weighted, found = head_losses(read, layer, terms, weights, scale=scale, directly=joined)
            total = total + weighted
        distances = {"cosine": cosine_distance, "mse": squared_distance}
        for name, distance in distances.items():
            if weights[name]:
                assert taught is not None
                assert taught.states is not None
                found[name] = distance(self.project(asked), taught.states)[0]
                total = total + weights[name] / counts[name] * found[name]
        if weights["relation"]:
            assert taught is not None
            found["relation"] = relation_divergence(
                relations, taught.relations, self.relation_heads, causal=self.student.causal
            )[0]
            total = total + weights["relation"] / counts["relation"] * found["relation"]
        return {"total": total, **{name: value.detach() / counts[name] for name, value in found.items()}}

    @torch.no_grad()
    def measure(self, batch: Batch, taught: TeacherOutputs | None) -> dict[str, Tensor]:
        """Return sums over the batch's positions.

        `positions`; with a head `mlm` (cross-entropy) and `correct` (likeliest token is the true one); with
        a teacher `agreeing` (likeliest token is the teacher's) and `cosine` (of states, if their widths match).
        """
        states, _ = self.student.forward(batch.tokens)
        asked = states.flatten(0, 1)[batch.positions]
        found = {"positions": torch.tensor(float(len(asked)), device=states.device)}
        if self.student.has_head:

            def terms(logits: Tensor, rows: slice) -> dict[str, Tensor]:
                likeliest, labels = logits.argmax(dim=-1), batch.labels[rows]
                sums = {"mlm": cross_entropy(logits, labels)[0], "correct": (likeliest == labels).sum().float()}
                if taught is not None and taught.read is not None:
                    sums["agreeing"] = (likeliest == taught.logits(rows).argmax(dim=-1)).sum().float()
                return sums

            read = self.student.transform(asked)
            layer = self.student.vocabulary_layer
            found |= head_losses(read, layer, terms, dict.fromkeys(("mlm", "correct", "agreeing"), 0.0))[1]
        if taught is not None and taught.states is not None:
            own = self.project(asked)
            if own.shape == taught.states.shape:
                found["cosine"] = len(own) - cosine_distance(own, taught.states)[0]
        return found
