"""The task `embedding`: the vectors of single sentences, as sentence-transformers encodes them with T."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fsp.base.errors import Diverged, InputError
from fsp.distillation.cutting import Cut
from fsp.distillation.examples import MASK, Batch, Examples, Material
from fsp.distillation.models.card import describe_model, table
from fsp.distillation.models.sentence_layout import SentenceLayout
from fsp.distillation.networks import last_states, without_layers
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.similarity import SentenceFigures
from fsp.distillation.student import Student
from fsp.distillation.tasks.comparing import UnexplainedVariance
from fsp.distillation.tasks.task import LEAST_HELD_OUT_TOKENS, READOUT_TOKENS, Answers, Data, Making, Task, evenly
from fsp.distillation.tasks.text import check_length, corpus_in, encoded, padded
from fsp.distillation.teacher import Teacher
from fsp.distillation.text.corpus import pack
from fsp.distillation.text.segmentation import sentences

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_READOUT_SENTENCES = 1024  # on which readouts are fitted
_HEALED_ON = 2048  # passages from which blocks are drawn on which cuts are healed
_STATIC_SENTENCES = 16_384  # on which that of a model without layers is fitted
_LEAST_SENTENCES = 50
_MOST_COMPARED = 512  # held-out sentences; all their pairs are compared
_STRENGTHS = np.logspace(-6, 6, 25)  # ridge penalties, in units of (mean variance of the features) x (sentences)
_CHECKED = 8  # sentences on which the embeddings are compared with sentence-transformers' own
_TOLERANCE = 1e-3


class EmbeddingTask(Task):
    """1 - R² of T's sentence embeddings, with T's own pooling, further modules, length and prompt.

    Attributes:
        layout: how T embeds sentences.

    Raises:
        InputError: T's layout cannot be read, or carried over to a student.
    """

    name = "embedding"
    loaded_by = "SentenceTransformer, AutoModel and AutoTokenizer load it"
    matches = "its sentence embeddings"
    compares = "1 − R² of T's sentence embeddings"
    figures: ClassVar[Mapping[str, str]] = {"spearman": "Spearman", "neighbours": "neighbours", "cosine": "cosine"}
    larger_is_better = tuple(figures)

    def __init__(self, teacher: Teacher):
        super().__init__(teacher)
        try:
            self.layout: SentenceLayout = teacher.layout
        except InputError as problem:
            raise InputError(f"{problem}; --task states compresses the encoder alone") from None

    @property
    def settings(self) -> dict[str, Any]:
        """The task and T's layout."""
        return {"task": self.name, "layout": self.layout.describe()}

    def material(self, data: Data, settings: SurrogateSettings, making: Making) -> Material:
        """Cut text into sentences and compute T's pooled states for them; healing takes blocks of the same text."""
        corpus, length = corpus_in(data), settings.length
        check_length(self.teacher, length)
        store = self.outputs(making, f"pooled {self.layout.describe()}")
        parts = []
        for name, found, wanted, least in (
            ("training", sentences(corpus.train), max(settings.tokens, READOUT_TOKENS), READOUT_TOKENS),
            ("validation", sentences(corpus.validation), settings.held_out_tokens, LEAST_HELD_OUT_TOKENS),
            ("test", corpus.test_sentences, settings.held_out_tokens, LEAST_HELD_OUT_TOKENS),
        ):
            part = self._examples([found[row] for row in evenly(len(found), len(found))], wanted, self.batch * length)
            if part is None or part.tokens < least or len(part) < _LEAST_SENTENCES:
                has = f"{0 if part is None else part.tokens:,} tokens in {0 if part is None else len(part)} sentences"
                raise corpus.too_small(name, has, f"{least:,} in {_LEAST_SENTENCES}")
            size = len(part) * len(self.layout.modes) * self.teacher.architecture["H"] * 4
            store.check_room(part.inputs, size, training=name == "training")
            parts.append(part)
        self._check(corpus.test_sentences[:_CHECKED])
        compute = partial(self.pooled, self.teacher.network)
        train = store.of(parts[0], compute, half=False, training=True)
        validation, test = (store.of(part, compute, half=False) for part in parts[1:])
        self._readout = train[:_READOUT_SENTENCES]
        with torch.inference_mode():
            final = self.layout.finish(torch.from_numpy(np.array(train.target)).to(self.teacher.device.torch))
        self.comparison = UnexplainedVariance(float(final.float().var(dim=0, correction=0).sum()))
        rows = np.sort(evenly(len(corpus.train), _HEALED_ON))
        blocks = pack(self.teacher.tokenizer, [corpus.train[row] for row in rows], length)
        if blocks.size < READOUT_TOKENS:
            raise corpus.too_small("training", f"{blocks.size:,} tokens", f"{READOUT_TOKENS:,}")
        chosen = blocks[evenly(len(blocks), READOUT_TOKENS // length)]
        calibration = {"input_ids": torch.from_numpy(chosen.astype(np.int64))}
        return Material(train, validation, test, calibration, tuple(corpus.test_sentences[:_MOST_COMPARED]))

    def elsewhere(self, data: Data, settings: SurrogateSettings, making: Making) -> dict[str, Material]:
        """Return sentences of other kinds of text."""
        store = self.outputs(making, f"pooled {self.layout.describe()}")
        found = {}
        for name, passages in corpus_in(data).elsewhere.items():
            every = sentences(passages)
            texts = [every[row] for row in evenly(len(every), len(every))]
            part = self._examples(texts, settings.held_out_tokens, self.batch * settings.length)
            if part is not None and len(part) >= _LEAST_SENTENCES:
                examples = store.of(part, partial(self.pooled, self.teacher.network), half=False)
                found[name] = Material.tested(examples, tuple(texts[:_MOST_COMPARED]))
        return found

    def _examples(self, found: Sequence[str], wanted: int, most: int) -> Examples | None:
        """Return sentences as the network's inputs, as many as have `wanted` tokens together."""
        if not found:
            return None
        layout, tokens, total = self.layout, [], 0
        for i in range(0, len(found), 512):
            texts = [layout.prompt + text for text in found[i : i + 512]]
            for ids in encoded(layout.tokenizer, texts, layout.longest):
                if total >= wanted:
                    break
                tokens.append(ids)
                total += len(ids)
        padding = layout.tokenizer.pad_token_id
        return Examples(padded(tokens, padding), np.empty((len(tokens), 0), np.float32), most=most)

    def _check(self, found: Sequence[str]) -> None:
        """Refuse a T whose sentences would be encoded in another way than its library encodes them."""
        part = self._examples(found, 10**9, 10**9)
        assert part is not None
        with torch.inference_mode():
            batch = part.take(np.arange(len(part))).to(self.teacher.device.torch)
            own = self.layout.finish(self.pooled(self.teacher.network, batch.inputs)).cpu().numpy()
        wanted = self.layout.encode(self.teacher.network, found)
        if not np.abs(own - wanted).max() <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise InputError(
                f"teacher {self.teacher.name}: fsp would encode its sentences in another way than "
                "sentence-transformers does; use --task states, or another teacher"
            )

    def pooled(self, network: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Return the pooled states of sentences, `n x (modes · H)`."""
        states = last_states(network, inputs)
        return self.layout.pool(states, inputs[MASK], self._prompt_tokens)

    @cached_property
    def _prompt_tokens(self) -> int:
        """Tokens of the prompt, if pooling leaves them out."""
        if not self.layout.prompt or self.layout.pooling.include_prompt:
            return 0
        ids = encoded(self.layout.tokenizer, [self.layout.prompt], self.layout.longest)[0]
        return len(ids) - (1 if ids and ids[-1] in self.layout.tokenizer.all_special_ids else 0)

    def fresh(self, cut: Cut) -> Student:
        """Return the cut with the readout of pooled states that its healing suggests."""
        modes = len(self.layout.modes)
        readout = nn.Linear(modes * len(cut.hidden), modes * self.teacher.architecture["H"])
        device = self.teacher.device.torch
        with torch.no_grad():
            readout.weight.zero_()
            readout.bias.zero_()
            if cut.rendering is not None:
                readout.weight.copy_(torch.block_diag(*[cut.rendering.weight.cpu()] * modes))
                readout.bias.copy_(cut.rendering.bias.cpu().repeat(modes))
        return Student(cut.network, self.teacher.family, readout.to(device))

    def predicted(self, student: Student, batch: Batch) -> Tensor:
        """Return T's embeddings as predicted from the student's pooled states."""
        assert student.readout is not None
        return self.layout.finish(student.readout(self.pooled(student.network, batch.inputs)))

    def wanted(self, batch: Batch) -> Tensor:
        """Return T's embeddings."""
        return self.layout.finish(batch.target)

    def fit(self, student: Student, material: Material, states: Tensor | None = None) -> None:
        """Set the readout to the ridge regression of T's pooled states on the student's, shrunk towards itself."""
        self._fit(student, self._readout)

    @torch.no_grad()
    def _fit(self, student: Student, examples: Examples) -> None:
        assert student.readout is not None
        own = np.empty((len(examples), student.readout.in_features), np.float32)
        for rows in examples.rows(0):
            batch = examples.take(rows).to(self.teacher.device.torch)
            own[rows] = self.pooled(student.network, batch.inputs).float().cpu().numpy()
        if not np.isfinite(own).all():
            raise Diverged("the student's states are not finite")
        fit_ridge(student.readout, own, np.asarray(examples.target))

    def refit(self, student: Student, material: Material) -> None:
        """Fit the readout again; after a few steps it would be worse than before training otherwise."""
        self.fit(student, material)

    def answers(self, student: Student) -> Answers:
        """Return a student's embeddings; of texts, as the saved model gives them."""
        encode = partial(self.layout.encode, student.network, readout=student.readout)
        return Answers(partial(self.predicted, student), encode)

    def answers_of_t(self) -> Answers:
        """Return T's embeddings; of texts, as its library gives them."""
        return Answers(self.wanted, partial(self.layout.encode, self.teacher.network))

    def static(self, material: Material) -> Student | None:
        """Return T's embedding layer alone, with a readout fitted on training sentences; None unless T takes a mean."""
        anatomy = self.teacher.family.anatomy
        assert anatomy is not None
        if not any("mean" in mode for mode in self.layout.modes):
            return None  # without layers, the first or last token says nothing of the others
        every = torch.arange(self.teacher.architecture["H"], device=self.teacher.device.torch)
        student = self.fresh(Cut(without_layers(self.teacher.network, anatomy), every, [], None, None))
        self._fit(student, material.train[:_STATIC_SENTENCES])
        return student

    def measured(self, answers: Mapping[str, Answers], material: Material) -> dict[str, dict[str, float]]:
        """Return how the similarities, neighbours and vectors of held-out sentences agree with T's."""
        reference = self.layout.encode(self.teacher.network, material.texts)
        found = {}
        for name, one in answers.items():
            assert one.texts is not None
            found[name] = vars(SentenceFigures.of(reference, one.texts(material.texts)))
        return found

    def save(self, student: Student, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write the student in T's layout, with its readout after pooling, so that its vectors can replace T's."""
        layout, name = self.layout, self.teacher.name
        pooling = " and ".join(mode.replace("_", " ") for mode in layout.modes)
        prompt = f", after the prompt {layout.prompt!r}" if layout.prompt else ""
        steps = ["the readout (`2_Dense`)", *(f"{type(module).__name__} of the teacher" for module in layout.after)]
        layout.model(student.network, student.readout).save(str(folder), create_model_card=False)
        describe_model(
            folder,
            facts,
            {"library_name": "sentence-transformers", "tags": "[sentence-transformers, knowledge-distillation, fsp]"},
            f"A subarchitecture of {name}",
            f"Cut out of {name} and distilled by fsp to give its sentence embeddings. `SentenceTransformer` gives "
            f"vectors\nof sentences that stand in for the teacher's: of the first {layout.longest} tokens{prompt}, "
            f"{pooling} "
            f"pooling, then\n{', '.join(steps)}. `AutoModel` gives the encoder's own token states.",
            table(facts),
            f"Error: {self.compares}, where T is the teacher.",
        )

    def calls(self, students: Mapping[str, Student], length: int) -> dict[str, Callable[[], object]]:
        """Return the library's model of T and of each student on one sentence; tokenisation is not timed."""
        inputs = self.one(length)
        features = {**inputs, MASK: torch.ones_like(inputs["input_ids"])}
        models = {
            "T": self.layout.model(self.teacher.network),
            **{name: self.layout.model(one.network, one.readout) for name, one in students.items()},
        }

        def embed(model: "SentenceTransformer") -> object:
            return model(dict(features))

        return {name: partial(embed, model) for name, model in models.items()}


@torch.no_grad()
def fit_ridge(readout: nn.Linear, own: np.ndarray, target: np.ndarray) -> None:
    """Set a readout to the affine map of least squared error, shrunk towards what it was; its bias is not shrunk.

    The strength of the shrinkage minimises the leave-one-out error, computed in closed form; in directions without
    variance in the rows, the former weights remain.

    Args:
        readout: changed in place.
        own: inputs of the map, `n x d`.
        target: outputs that it should give, `n x D`.

    Source: generalised cross-validation, Golub, Heath and Wahba 1979, as scikit-learn's `RidgeCV` computes it.
    """
    from sklearn.linear_model import RidgeCV

    features = own.astype(np.float64)
    weight, bias = readout.weight.cpu().double().numpy(), readout.bias.cpu().double().numpy()
    scale = max(len(features) * features.var(axis=0).mean(), np.finfo(np.float32).tiny)  # whose inverse is finite
    found = RidgeCV(alphas=scale * _STRENGTHS).fit(features, target - (features @ weight.T + bias))
    readout.weight.copy_(torch.from_numpy(weight + found.coef_))
    readout.bias.copy_(torch.from_numpy(bias + found.intercept_))
