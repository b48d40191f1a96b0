import pytest
import torch

from fsp.base.errors import InputError
from fsp.distillation.models.loading import longest_input
from fsp.distillation.pretraining.models import LanguageModel, check_length, check_vocabularies, load_language_model
from fsp.distillation.pretraining.students import cut_student, random_student, student_config

from .conftest import TYPES, small_network

TOKENS = torch.randint(5, 2000, (40, 32), generator=torch.Generator().manual_seed(1))
FULL = {"D": 3, "A": 4, "H": 32, "I": 48}
SMALL = {"D": 2, "A": 2, "H": 16, "I": 24}


@pytest.mark.parametrize("kind", TYPES)
def test_head_on_chosen_positions_is_the_models_own(teachers, kind):
    loaded = load_language_model(teachers / kind)
    assert loaded.model.has_head and dict(loaded.model.architecture) == FULL
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
    assert [tuple(x.shape) for x in projected] == [(2, 32, 32)] * 3
    assert not torch.equal(projected[0], projected[1])
    assert not any(module._forward_hooks for module in model.network.modules())


def test_queries_keys_and_values_in_that_order():
    """Attention recomputed from them is the layer's own."""
    for kind in ("bert", "gpt2"):
        model = LanguageModel(small_network(kind))
        contexts = []
        last = model.body.encoder.layer[-1].attention.output.dense if kind == "bert" else model.body.h[-1].attn.c_proj
        last.register_forward_pre_hook(lambda _, inputs, contexts=contexts: contexts.append(inputs[0]))
        with torch.no_grad():
            _, projected = model.forward(TOKENS[:2], relations=True)
            heads = [x.unflatten(-1, (4, 8)).transpose(1, 2) for x in projected]
            own = torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=kind == "gpt2")
        assert torch.allclose(own.transpose(1, 2).flatten(2), contexts[0], atol=1e-5)


def test_a_teacher_without_head_is_found_out(teachers):
    loaded = load_language_model(teachers / "headless")
    assert not loaded.model.has_head
    assert loaded.model.forward(TOKENS)[0].shape == (40, 32, 32)


@pytest.mark.parametrize("kind", TYPES)
def test_the_cut_at_full_size_is_the_teacher(teachers, kind):
    teacher = load_language_model(teachers / kind).model
    student = cut_student(teacher, student_config(teacher.config, FULL), TOKENS, head=True, seed=0)
    with torch.no_grad():
        ours, theirs = (m.network.eval()(input_ids=TOKENS).logits for m in (student, teacher))
    assert torch.allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_a_cut_is_nearer_to_the_teacher_than_a_random_student(teachers, kind):
    teacher = load_language_model(teachers / kind).model
    config = student_config(teacher.config, {"D": 3, "A": 4, "H": 32, "I": 40})
    distance = {}
    for name, student in (
        ("cut", cut_student(teacher, config, TOKENS, head=True, seed=0)),
        ("random", random_student(config, head=True, causal=teacher.causal, seed=0)),
    ):
        with torch.no_grad():
            ours, theirs = (m.network.eval()(input_ids=TOKENS).logits.softmax(-1) for m in (student, teacher))
        distance[name] = float((ours - theirs).abs().sum(-1).mean())
    assert distance["cut"] < distance["random"] / 2


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("head", [True, False])
def test_smaller_students_of_every_type(teachers, kind, head, tmp_path):
    teacher = load_language_model(teachers / kind).model
    config = student_config(teacher.config, SMALL, dropout=0.0)
    for student in (
        cut_student(teacher, config, TOKENS, head=head, seed=0),
        random_student(config, head=head, causal=teacher.causal, seed=0),
    ):
        assert dict(student.architecture) == SMALL and student.has_head == head
        assert student.forward(TOKENS[:2])[0].shape == (2, 32, 16)
        student.network.save_pretrained(tmp_path / "model")
        again, info = type(student.network).from_pretrained(tmp_path / "model", output_loading_info=True)
        assert all("pooler" in key for key in info["missing_keys"]) and dict(LanguageModel(again).architecture) == SMALL


def test_a_head_is_given_to_a_cut_of_a_headless_teacher(teachers):
    teacher = load_language_model(teachers / "headless").model
    student = cut_student(teacher, student_config(teacher.config, SMALL), TOKENS, head=True, seed=0)
    assert student.has_head


def test_an_electra_without_projection_is_cut(teachers):
    network = small_network("electra")
    config = network.config
    config.embedding_size = 32
    teacher = LanguageModel(type(network)(config).eval())
    own = student_config(config, FULL)
    student = cut_student(teacher, own, TOKENS, head=True, seed=0)
    with torch.no_grad():
        assert torch.allclose(
            student.network.eval()(input_ids=TOKENS).logits, teacher.network(input_ids=TOKENS).logits, atol=1e-5
        )
    assert cut_student(teacher, student_config(config, SMALL), TOKENS, head=True, seed=0).config.embedding_size == 16


def test_random_students_are_normal_with_deviation_002(teachers):
    config = student_config(load_language_model(teachers / "bert").model.config, FULL)
    student = random_student(config, head=True, causal=False, seed=3)
    again = random_student(config, head=True, causal=False, seed=3)
    weight = student.body.encoder.layer[0].intermediate.dense.weight
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert all(torch.equal(a, b) for a, b in zip(student.network.parameters(), again.network.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_heads_of_another_size_are_cut_where_they_can_be(teachers, kind):
    teacher = load_language_model(teachers / kind).model
    student = cut_student(
        teacher, student_config(teacher.config, {"D": 2, "A": 2, "H": 32, "I": 24}), TOKENS, head=True, seed=0
    )
    assert student.architecture["A"] == 2


def test_what_does_not_fit_says_what_to_do(teachers):
    teacher = load_language_model(teachers / "electra").model
    config = student_config(teacher.config, {"D": 2, "A": 4, "H": 16, "I": 24})
    with pytest.raises(InputError, match=r"head size.*--init random"):
        cut_student(teacher, config, TOKENS, head=True, seed=0)
    with pytest.raises(InputError, match="--length from 8 to 64"):
        check_length(teacher, 65)


def test_unusable_teachers(teachers, tmp_path):
    from transformers import BertConfig, T5Config

    with pytest.raises(InputError, match=r"teacher .*nothing: there is no such folder"):
        load_language_model(tmp_path / "nothing")
    T5Config().save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="model type 't5' is not supported"):
        load_language_model(tmp_path / "t5")
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
