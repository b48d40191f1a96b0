import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from fsp.base.errors import InputError, RunFailed
from fsp.distillation.masking import Masking, PassMasking
from fsp.distillation.pretraining import checkpoints
from fsp.distillation.pretraining.batches import Batches
from fsp.distillation.pretraining.engine import Engine, accelerator_for
from fsp.distillation.pretraining.health import Health
from fsp.distillation.pretraining.models import LanguageModel
from fsp.distillation.pretraining.packed import Stream
from fsp.distillation.pretraining.settings import Options, PretrainingSettings
from fsp.distillation.pretraining.student_losses import StudentWithLosses
from fsp.distillation.pretraining.students import random_student
from fsp.distillation.pretraining.teacher_outputs import LiveTeacher

from .conftest import TYPES, shape_of, small_network

SMALL = {"D": 2, "A": 2, "H": 16, "I": 24}
FEW = dict(steps=6, batch=8, length=16, dropout=0.1, learning_rate=1e-3)


def engine(folder, *, kind="bert", trained=None, settings=None, spoil=(), louder=(), scaler=None, **options):
    """An engine over random text, and the list its records go to.

    spoil: calls of the teacher that give NaN. louder: those that give states ten times as large. scaler: of
    gradients, as float16 training on a GPU has one.
    """
    settings = settings or PretrainingSettings(**FEW)
    teacher = LanguageModel(small_network(kind))
    shape = shape_of(kind, **SMALL)
    student = trained or random_student(teacher, shape, head=settings.needs_head, dropout=settings.dropout, seed=0)
    tokens = np.random.default_rng(0).integers(5, 2000, size=16 * 60).astype(np.uint16)
    start, end = (None, 3) if teacher.causal else (2, 3)
    masked = PassMasking(Masking(4, (0, 1, 2, 3, 4), 2000), 0.15, settings.seed)
    masking = None if teacher.causal or not settings.needs_head else masked
    batches = Batches(Stream(tokens, settings.length, start, end), masking, teacher.causal, settings.seed)
    torch.manual_seed(0)
    learner = StudentWithLosses(
        student,
        settings.weights,
        temperature=settings.temperature,
        teacher_width=32,
        relation_heads=settings.relation_heads or 2,
    )
    live = LiveTeacher(teacher, bool(settings.kl), settings.needs_states, bool(settings.relation))
    calls = iter(range(10**9))

    def teach(batch):
        call, taught = next(calls), live(batch)
        if call in spoil:
            return replace(taught, read=taught.read * math.nan)
        return replace(taught, states=10 * taught.states) if call in louder else taught

    records = []
    accelerator = accelerator_for(settings)
    if scaler is not None:
        accelerator.scaler, accelerator.state._mixed_precision, accelerator.native_amp = scaler, "fp16", True
    made = Engine(
        accelerator,
        learner,
        batches,
        teach if settings.needs_teacher else None,
        settings,
        Options(**options),
        folder,
        after_step=records.append,
    )
    return made, records


def losses(records):
    return [(r["loss"], r["gradient_norm"], r["learning_rate"]) for r in records]


def weights(made):
    return {name: p.detach().clone() for name, p in made.learner.named_parameters()}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_learns_with_every_loss(kind, tmp_path):
    settings = PretrainingSettings(
        steps=30, batch=8, length=16, learning_rate=3e-3, kl=1, mlm=0.1, cosine=1, mse=1, relation=1
    )
    made, records = engine(tmp_path, kind=kind, settings=settings)
    assert made.run().finished
    batch = made.batches.at(np.arange(8))  # that of the first step
    taught = LiveTeacher(LanguageModel(small_network(kind)), logits=True, states=True, relations=True)(batch)
    with torch.no_grad():
        after = made.learner(batch, taught, made.learner.counts(len(batch.positions), batch.tokens.numel()))
    for name in ("kl", "cosine", "mse", "relation"):
        assert after[name] < records[0][name], name
    assert sum(settings.weights[n] * records[0][n] for n in settings.weights) == pytest.approx(
        records[0]["loss"], rel=1e-5
    )


def test_accumulation_changes_nothing(tmp_path):
    base = dict(FEW, dropout=0.0, cosine=1.0, relation=1.0)
    runs = [engine(tmp_path / str(n), settings=PretrainingSettings(**base, accumulate=n)) for n in (1, 2, 4)]
    for made, _ in runs:
        made.run()
    for made, records in runs[1:]:
        assert np.allclose(losses(records), losses(runs[0][1]), rtol=1e-4)
        for name, value in weights(made).items():
            assert torch.allclose(value, weights(runs[0][0])[name], atol=2e-5), name


def test_a_step_is_that_of_a_plain_loop(tmp_path):
    """Loss, gradient and clipping against full logits and torch's own functions."""
    import torch.nn.functional as F

    settings = PretrainingSettings(**{**FEW, "steps": 1, "dropout": 0.0, "warmup": 0.0, "kl": 0.5, "clip": 0.3})
    made, records = engine(tmp_path, settings=settings)
    before = weights(made)
    made.run()

    teacher = small_network("bert")
    student = random_student(LanguageModel(teacher), SMALL, head=True, dropout=0.0, seed=0).network.train()
    batch = made.batches.at(np.arange(8))
    own = student(input_ids=batch.tokens).logits.flatten(0, 1)[batch.positions]
    with torch.no_grad():
        wanted = teacher(input_ids=batch.tokens).logits.flatten(0, 1)[batch.positions]
    mlm = F.cross_entropy(own, batch.labels)
    kl = 4 * F.kl_div((own / 2).log_softmax(-1), (wanted / 2).softmax(-1), reduction="batchmean")
    loss = 0.5 * kl + 0.1 * mlm
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 0.3)
    assert records[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert records[0]["kl"] == pytest.approx(kl.item(), rel=1e-5)
    assert records[0]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    matrices = [p for p in student.parameters() if p.ndim >= 2]
    vectors = [p for p in student.parameters() if p.ndim < 2]
    torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        eps=1e-6,
    ).step()
    after = weights(made)
    for name, value in student.named_parameters():
        assert torch.allclose(after[f"network.{name}"], value, atol=5e-5), name
        assert not torch.equal(after[f"network.{name}"], before[f"network.{name}"]) or not value.grad.any()


def test_tied_tables_have_one_dense_gradient(tmp_path):
    """That of the token table is added into the vocabulary layer's; the sum is that of two dense ones."""
    gradients = []
    for joined in (False, True):
        made, _ = engine(tmp_path / str(joined), settings=PretrainingSettings(**{**FEW, "steps": 1, "dropout": 0.0}))
        table = made.learner.network.get_input_embeddings()
        assert table.sparse
        table.sparse = joined
        batch = made.batches.at(np.arange(8))
        made.learner(batch, made.teach(batch), made._counts)["total"].backward()
        gradients.append(table.weight.grad)
    assert gradients[1].layout is torch.strided
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)


def test_without_logits_a_table_keeps_its_own_gradient(tmp_path):
    settings = PretrainingSettings(**{**FEW, "kl": 0.0, "mlm": 0.0, "cosine": 1.0})
    made, _ = engine(tmp_path, settings=settings)
    assert not made.learner.network.get_input_embeddings().sparse


def test_resumed_equals_uninterrupted_step_for_step(tmp_path):
    whole, whole_records = engine(
        tmp_path / "whole", settings=PretrainingSettings(**FEW, cosine=1.0), checkpoint_every=2
    )
    whole.run()

    class Killed(Exception):
        pass

    def kill(record):
        records.append(record)
        if record["step"] == 5:
            raise Killed

    first, records = engine(tmp_path / "parts", settings=PretrainingSettings(**FEW, cosine=1.0), checkpoint_every=2)
    first._after_step = kill
    with pytest.raises(Killed):
        first.run()
    again, more = engine(tmp_path / "parts", settings=PretrainingSettings(**FEW, cosine=1.0), checkpoint_every=2)
    assert again.run().finished
    assert [r["step"] for r in more] == [5, 6]
    assert losses(records[:4] + more) == losses(whole_records)
    for name, value in weights(again).items():
        assert torch.equal(value, weights(whole)[name]), name
    assert [p.name for p in sorted((tmp_path / "parts").iterdir())] == ["step-000000004", "step-000000006"]


def test_sigterm_saves_and_ends(tmp_path):
    made, records = engine(tmp_path, settings=PretrainingSettings(**FEW))
    made._after_step = lambda record: records.append(record) or os.kill(os.getpid(), signal.SIGTERM)
    outcome = made.run()
    assert not outcome.finished and outcome.steps == 2  # the signal came after the first, the second noticed it
    assert checkpoints.load(tmp_path)[0] == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_nan_batches_are_skipped_counted_and_harmless(tmp_path):
    made, records = engine(tmp_path, settings=PretrainingSettings(**FEW), spoil={2, 3})
    outcome = made.run()
    assert outcome.skipped == 2 and outcome.finished
    assert [r["step"] for r in records if r["skipped"]] == [3, 4]
    assert all(value.isfinite().all() for value in weights(made).values())
    assert np.isfinite([r["loss"] for r in records if not r["skipped"]]).all()


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("bad", ["louder", "spoil"])
def test_a_step_reported_as_skipped_changes_nothing(tmp_path, scaled, bad):
    """A finite spike too, which a gradient scaler itself would apply; the steps after it go on."""
    settings = PretrainingSettings(**{**FEW, "steps": 25, "dropout": 0.0, "mse": 1.0})
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=10**6) if scaled else None
    made, records = engine(tmp_path, settings=settings, scaler=scaler, **{bad: {22}})
    after, moments = [], []

    def watch(record):
        records.append(record)
        after.append(weights(made))
        moments.append([state["step"].item() for state in made._optimiser.optimizer.state.values()])

    made._after_step = watch
    assert made.run().finished
    assert [r["step"] for r in records if r["skipped"]] == [23]
    assert all(torch.equal(after[22][name], after[21][name]) for name in after[0])
    assert moments[22] == moments[21]
    for before, now in ((20, 21), (22, 23), (23, 24)):
        assert any(not torch.equal(after[now][name], after[before][name]) for name in after[0])
    if scaled:
        assert scaler.get_scale() == (16.0 if bad == "louder" else 8.0)


def test_too_many_nan_batches_end_it_with_the_last_checkpoint_intact(tmp_path):
    made, _ = engine(
        tmp_path, settings=PretrainingSettings(**FEW), spoil=set(range(3, 99)), checkpoint_every=2, most_skipped=1
    )
    with pytest.raises(RunFailed, match=r"2 batches in a row.*the loss is nan"):
        made.run()
    step, tensors, state = checkpoints.load(tmp_path)
    assert step == 4 and state["health"]["skipped"] == 1
    assert all(value.isfinite().all() for value in tensors.values())


def test_spikes():
    health = Health(most=3)
    for k in range(30):
        assert health.judge(10.0 - k / 10, 1.0) is None
    assert "after" in health.judge(40.0, 1.0)
    assert "gradient" in health.judge(7.0, math.inf)
    assert health.judge(8.0, 1.0) is None
    again = Health(most=3)
    again.restore(health.state())
    assert again.state() == health.state() and again.skipped == 2


def tensors(value):
    return {"a": torch.full((4,), value), "optimiser.a.step": torch.tensor(3.0)}


def test_the_last_k_checkpoints_are_kept(tmp_path):
    for step in (1, 2, 10):
        checkpoints.save(tmp_path, step, tensors(float(step)), {"x": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000002", "step-000000010"]
    step, found, state = checkpoints.load(tmp_path)
    assert (step, state) == (10, {"x": 10}) and torch.equal(found["a"], torch.full((4,), 10.0))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, 1, tensors(1.0), {}, keep=1)

    def full(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(RunFailed, match=r"step 2: No space left on device; .*step-000000001 is intact"):
        checkpoints.save(tmp_path, 2, tensors(2.0), {}, keep=1)
    assert checkpoints.load(tmp_path)[0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001"]


def test_a_real_full_disk(tmp_path):
    """Beyond the largest file that the process may write."""
    import resource

    checkpoints.save(tmp_path, 1, tensors(1.0), {}, keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunFailed, match="cannot write the checkpoint of step 2"):
            checkpoints.save(tmp_path, 2, {"a": torch.zeros(100_000)}, {}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert checkpoints.load(tmp_path)[0] == 1


@pytest.mark.parametrize("name", ["tensors.safetensors", "checkpoint.json"])
def test_a_truncated_checkpoint_is_named_and_kept(tmp_path, name):
    path = checkpoints.save(tmp_path, 1, tensors(1.0), {}, keep=1) / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{name}.*remove"):
        checkpoints.load(tmp_path)
    assert path.exists()


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoints.load(tmp_path / "nothing") is None
