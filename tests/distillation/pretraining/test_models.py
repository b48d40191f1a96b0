import pytest
import torch

from fsp.base.errors import InputError
from fsp.distillation.cutting import Cutter
from fsp.distillation.models.loading import longest_input
from fsp.distillation.pretraining.models import LanguageModel, check_length, check_vocabularies, load_language_model
from fsp.distillation.pretraining.students import check_shape, cut_student, random_student

from .conftest import TYPES, shape_of, small_network

TOKENS = torch.randint(5, 2000, (40, 32), generator=torch.Generator().manual_seed(1))
FULL = {"D": 3, "A": 4, "H": 32, "I": 48}
SMALL = {"D": 2, "A": 2, "H": 16, "I": 24}


@pytest.mark.parametrize("kind", TYPES)
def test_head_on_chosen_positions_is_the_models_own(teachers, kind):
    loaded = load_language_model(teachers / kind)
    assert loaded.model.has_head and dict(loaded.model.architecture) == shape_of(kind, **FULL)
    with torch.no_grad():
        whole = loaded.model.network(input_ids=TOKENS).logits
        states, _ = loaded.model.forward(TOKENS)
        assert torch.allclose(loaded.model.logits(states[3, [5, 7]]), whole[3, [5, 7]], atol=1e-5)
    assert longest_input(loaded.model.config) == 64


@pytest.mark.parametrize("kind", TYPES)
def test_relations_come_from_the_last_layer(kind):
    model = LanguageModel(small_network(kind))
    with torch.no_grad():
        _, projected = model.forward(TOKENS[:2], relations=True)
    shared = 16 if kind == "llama" else 32  # two of its heads share keys and values
    assert [tuple(x.shape) for x in projected] == [(2, 32, 32), (2, 32, shared), (2, 32, shared)]
    widths = model.attention_widths(model.architecture)
    assert [widths["A"], *[widths.get("K", widths["A"])] * 2] == [x.shape[-1] for x in projected]
    assert not torch.equal(projected[1], projected[2])
    assert not any(module._forward_hooks for module in model.network.modules())


def contexts_and_projections(kind):
    """What the last attention writes from, and its queries, keys and values."""
    model = LanguageModel(small_network(kind))
    contexts = []
    writer = model.body.get_submodule(f"{model.anatomy.layers}.2.{model.anatomy.branches[0].writes}")
    writer.register_forward_pre_hook(lambda _, given: contexts.append(given[0]))
    with torch.no_grad():
        _, projected = model.forward(TOKENS[:2], relations=True)
    return contexts[0], projected


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "gpt2"])
def test_queries_keys_and_values_in_that_order(kind):
    """Attention recomputed from them is the layer's own."""
    context, projected = contexts_and_projections(kind)
    heads = [x.unflatten(-1, (4, 8)).transpose(1, 2) for x in projected]
    own = torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=kind == "gpt2")
    assert torch.allclose(own.transpose(1, 2).flatten(2), context, atol=1e-5)


def test_values_of_a_llama_serve_two_heads_each():
    """The first token sees only itself, so what it reads are its own values."""
    context, (_, _, values) = contexts_and_projections("llama")
    own = values[:, 0].unflatten(-1, (2, 8)).repeat_interleave(2, dim=1).flatten(1)
    assert torch.allclose(own, context[:, 0], atol=1e-6)


def test_a_teacher_without_head_is_found_out(teachers):
    loaded = load_language_model(teachers / "headless")
    assert not loaded.model.has_head
    assert loaded.model.forward(TOKENS)[0].shape == (40, 32, 32)


@pytest.mark.parametrize("kind", TYPES)
def test_the_cut_at_full_size_is_the_teacher(teachers, kind):
    teacher = load_language_model(teachers / kind).model
    student = cut_student(teacher, shape_of(kind, **FULL), TOKENS, head=True, seed=0)
    with torch.no_grad():
        ours, theirs = (m.network.eval()(input_ids=TOKENS).logits for m in (student, teacher))
    assert torch.allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_a_cut_is_nearer_to_the_teacher_than_a_random_student(teachers, kind):
    teacher = load_language_model(teachers / kind).model
    shape = shape_of(kind, D=3, A=4, H=32, I=40)
    distance = {}
    for name, student in (
        ("cut", cut_student(teacher, shape, TOKENS, head=True, seed=0)),
        ("random", random_student(teacher, shape, head=True, seed=0)),
    ):
        with torch.no_grad():
            ours, theirs = (m.network.eval()(input_ids=TOKENS).logits.softmax(-1) for m in (student, teacher))
        distance[name] = float((ours - theirs).abs().sum(-1).mean())
    assert distance["cut"] < distance["random"] / 2


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("head", [True, False])
def test_smaller_students_of_every_type(teachers, kind, head, tmp_path):
    teacher = load_language_model(teachers / kind).model
    shape = shape_of(kind, **SMALL)
    for student in (
        cut_student(teacher, shape, TOKENS, head=head, dropout=0.0, seed=0),
        random_student(teacher, shape, head=head, dropout=0.0, seed=0),
    ):
        assert dict(student.architecture) == shape and student.has_head == head
        assert student.forward(TOKENS[:2])[0].shape == (2, 32, 16)
        student.network.save_pretrained(tmp_path / "model")
        again, info = type(student.network).from_pretrained(tmp_path / "model", output_loading_info=True)
        assert all("pooler" in key for key in info["missing_keys"]) and dict(LanguageModel(again).architecture) == shape


def test_a_head_is_given_to_a_cut_of_a_headless_teacher(teachers):
    teacher = load_language_model(teachers / "headless").model
    student = cut_student(teacher, SMALL, TOKENS, head=True, seed=0)
    assert student.has_head


def test_an_electra_without_projection_is_cut(teachers):
    network = small_network("electra")
    config = network.config
    config.embedding_size = 32
    teacher = LanguageModel(type(network)(config).eval())
    student = cut_student(teacher, FULL, TOKENS, head=True, seed=0)
    with torch.no_grad():
        assert torch.allclose(
            student.network.eval()(input_ids=TOKENS).logits, teacher.network(input_ids=TOKENS).logits, atol=2e-3
        )
    assert cut_student(teacher, SMALL, TOKENS, head=True, seed=0).config.embedding_size == 16


def test_random_students_are_normal_with_deviation_002(teachers):
    teacher = load_language_model(teachers / "bert").model
    student, again = (random_student(teacher, FULL, head=True, seed=3) for _ in range(2))
    weight = student.body.encoder.layer[0].intermediate.dense.weight
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert all(torch.equal(a, b) for a, b in zip(student.network.parameters(), again.network.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "gpt2"])
def test_heads_of_another_size_are_cut_where_they_can_be(teachers, kind):
    teacher = load_language_model(teachers / kind).model
    shape = {"D": 2, "A": 2, "H": 32, "I": 24}
    check_shape(teacher, shape, cut=True)
    assert dict(cut_student(teacher, shape, TOKENS, head=True, seed=0).architecture) == shape


def test_dropout_is_the_teachers_or_the_one_that_is_given(teachers):
    teacher = load_language_model(teachers / "distilbert").model
    for dropout, expected in ((None, 0.1), (0.0, 0.0), (0.3, 0.3)):
        for student in (
            cut_student(teacher, SMALL, TOKENS, head=True, dropout=dropout, seed=0),
            random_student(teacher, SMALL, head=True, dropout=dropout, seed=0),
        ):
            found = {module.p for module in student.network.modules() if isinstance(module, torch.nn.Dropout)}
            assert found == {expected} == {student.config.dropout, student.config.attention_dropout}


def test_a_random_student_may_be_larger_than_its_teacher(teachers):
    """Full and local attention of its layers recur as in the teacher."""
    teacher = load_language_model(teachers / "modernbert").model
    shape = {"D": 7, "A": 4, "H": 64, "I": 96}
    check_shape(teacher, shape, cut=False)
    student = random_student(teacher, shape, head=True, seed=0)
    assert dict(student.architecture) == shape
    assert student.config.layer_types == [teacher.config.layer_types[k % 3] for k in range(7)]


@pytest.mark.parametrize("kind", TYPES)
def test_a_healed_student_predicts_more_like_its_teacher_than_plain_copies(teachers, kind):
    teacher, shape = load_language_model(teachers / kind).model, shape_of(kind, **SMALL)
    healed = cut_student(teacher, shape, TOKENS, head=True, seed=0)
    copied = Cutter(teacher.network, teacher.family, {"input_ids": TOKENS}).cut(shape, heal=False)
    with torch.no_grad():
        wanted, ours, plain = (
            model.network.eval()(input_ids=TOKENS).logits.softmax(-1) for model in (teacher, healed, copied)
        )
    assert float((ours - wanted).abs().sum()) < float((plain - wanted).abs().sum())


@pytest.mark.parametrize(
    ("kind", "shape", "cut", "message"),
    [
        ("modernbert", dict(D=2, A=4, H=16, I=24), True, r"head size.*--init random"),
        ("llama", dict(D=2, A=4, K=1, H=32, I=24), True, r"each of the K must serve.*--init random"),
        ("llama", dict(D=2, A=4, K=3, H=32, I=24), False, "K=3 does not divide A=4"),
        ("llama", dict(D=2, A=4, H=32, I=24), False, "no shape of a llama; give D, A, K, H, I"),
        ("bert", dict(D=4, A=4, H=32, I=24), True, r"does not fit.*--init random"),
        ("bert", dict(D=2, A=3, H=32, I=24), False, "A=3 does not divide H=32"),
        ("electra", dict(D=2, A=2, H=12, I=24), False, "H=12 is the width of the embeddings"),
    ],
)
def test_shapes_that_no_student_has_say_what_to_do(kind, shape, cut, message):
    with pytest.raises(InputError, match=message):
        check_shape(LanguageModel(small_network(kind)), shape, cut=cut)


def test_blocks_that_are_too_long_say_what_to_do(teachers):
    teacher = load_language_model(teachers / "electra").model
    with pytest.raises(InputError, match="--length from 8 to 64"):
        check_length(teacher, 65)


def test_unusable_teachers(teachers, tmp_path):
    from transformers import BertConfig, T5Config, ViTConfig

    with pytest.raises(InputError, match=r"teacher .*nothing: there is no such folder"):
        load_language_model(tmp_path / "nothing")
    T5Config().save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="model type 't5' belongs to no network family"):
        load_language_model(tmp_path / "t5")
    ViTConfig().save_pretrained(tmp_path / "vit")
    with pytest.raises(InputError, match="model type 'vit' is no language model"):
        load_language_model(tmp_path / "vit")
    BertConfig().save_pretrained(tmp_path / "empty")
    with pytest.raises(InputError, match="has no weights"):
        load_language_model(tmp_path / "empty")


def test_pickled_weights_run_no_code(teachers, tmp_path):
    import shutil

    shutil.copytree(teachers / "bert", tmp_path / "t")
    (tmp_path / "t" / "model.safetensors").unlink()
    state = small_network("bert").state_dict()
    torch.save(state, tmp_path / "t" / "pytorch_model.bin")
    assert load_language_model(tmp_path / "t").model.has_head

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({**state, "x": Evil()}, tmp_path / "t" / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot load teacher"):
        load_language_model(tmp_path / "t")
    assert not (tmp_path / "ran").exists()


def test_vocabularies_that_differ(teachers):
    bert, roberta = (load_language_model(teachers / kind) for kind in ("bert", "roberta"))
    check_vocabularies(bert, load_language_model(teachers / "electra"), logits=True)
    with pytest.raises(InputError, match="tokenizers differ"):
        check_vocabularies(bert, roberta, logits=False)
    from dataclasses import replace

    wide = replace(bert, model=LanguageModel(small_network("bert", vocab_size=2048)))
    check_vocabularies(wide, bert, logits=False)
    with pytest.raises(InputError, match="2,048 logits and teacher bert 2,000; use --kl 0"):
        check_vocabularies(wide, bert, logits=True)
