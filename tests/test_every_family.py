"""`fsp run` for every family: from a directory of a small trained T to a saved model that loads and does what T does."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fsp.distillation.masking import Masking
from fsp.distillation.models.own import load_own, save_own
from fsp.distillation.text.corpus import pack, standard_library
from fsp.families import mlp
from fsp.spaces.loading import load_space

VOCABULARY, LENGTH = 800, 32
TEXT = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
SPACE = """
family = "{family}"
rules = [{rules}]
[parameters]
{choices}
[maximum]
{maximum}
"""
PARTITIONED = (
    {"D": [1, 2, 3], "A": [2, 4], "H": [16, 32], "I": [32, 64]},
    {"D": 3, "A": 4, "H": 32, "I": 64},
    "H == 8 * A",
)
SHARED = (
    {"D": [1, 2, 3], "A": [2, 4], "K": [1, 2], "H": [16, 32], "I": [32, 64]},
    {"D": 3, "A": 4, "K": 2, "H": 32, "I": 64},
    "A == 2 * K",
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "docs.txt"
    path.write_text("\n\n".join(standard_library())[:500_000], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(text):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    found = Tokenizer(models.BPE(unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.train([str(text)], trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=marks))
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


@pytest.fixture(scope="module")
def decoders_tokenizer(text):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    found = Tokenizer(models.BPE(unk_token="<|end|>"))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.train([str(text)], trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<|end|>"]))
    return PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<|end|>", bos_token="<|end|>")


def digits():
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images / 16).astype(np.float32), found.target.astype(np.int64)


def trained(network, loss_of, rows, steps=150, rate=3e-3):
    """Train in place for some seconds; the loss falls below that of the untrained network."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(steps):
        loss = loss_of(network, torch.randint(rows, (32,), generator=generator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    return network.eval()


def language_loss(ids, network, rows):
    logits = network(input_ids=ids[rows]).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), ids[rows][:, 1:].flatten())


def masked_loss(ids, masking, network, rows):
    seen, chosen = masking(ids[rows].numpy().astype(np.int32), seed=0)
    sites = torch.from_numpy(chosen)
    logits = network(input_ids=torch.from_numpy(seen).long()).logits
    return cross_entropy(logits[sites], ids[rows][sites])


def class_loss(inputs, labels, network, rows):
    found = network(**{name: value[rows] for name, value in inputs.items()})
    return cross_entropy(found if isinstance(found, torch.Tensor) else found.logits, labels[rows])


def teacher(family, folder, text, tokenizer, decoders_tokenizer):
    """Write a small trained T and its data; return the words of `fsp run` that name the data."""
    import transformers as t

    torch.manual_seed(0)
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    images, labels = digits()
    values = torch.from_numpy(images)
    own = decoders_tokenizer if family in ("gpt2", "llama") else tokenizer
    ids = torch.from_numpy(pack(own, [text.read_text(encoding="utf-8")], LENGTH).astype(np.int64))
    masks = partial(masked_loss, ids, Masking.of(tokenizer))
    if family == "mlp":
        network = mlp.build({"D": 3, "H": 32}, {"inputs": 64, "outputs": 10})
        loss = partial(class_loss, {"values": values.flatten(1)}, torch.from_numpy(labels))
        save_own(trained(network, loss, len(labels)), mlp, folder)
        np.savez(folder.parent / "digits.npz", values=images.reshape(len(images), -1), labels=labels)
        return ["--data", folder.parent / "digits.npz"]
    if family == "vit":
        network = t.ViTForImageClassification(
            t.ViTConfig(**TEXT, image_size=8, patch_size=4, num_channels=1, num_labels=10)
        )
        loss = partial(class_loss, {"pixel_values": values[:, None]}, torch.from_numpy(labels))
        trained(network, loss, len(labels)).save_pretrained(folder)
        np.savez(folder.parent / "digits.npz", images=images[:, None], labels=labels)
        return ["--data", folder.parent / "digits.npz"]
    if family == "distilbert":  # long lines from short ones
        config = t.DistilBertConfig(
            vocab_size=VOCABULARY,
            n_layers=3,
            n_heads=4,
            dim=32,
            hidden_dim=64,
            max_position_embeddings=64,
            num_labels=2,
        )
        network = t.DistilBertForSequenceClassification(config)
        known = (ids == ids.mode(dim=1).values[:, None]).sum(dim=1)  # blocks that repeat a token often
        loss = partial(class_loss, {"input_ids": ids}, (known > known.median()).long())
        trained(network, loss, len(ids)).save_pretrained(folder)
        own.save_pretrained(folder)
        return ["--corpus", text]
    sizes = {**TEXT, "vocab_size": VOCABULARY, "max_position_embeddings": 64}
    network, loss = {
        "bert": lambda: (t.BertForMaskedLM(t.BertConfig(**sizes)), masks),
        "modernbert": lambda: (t.ModernBertForMaskedLM(t.ModernBertConfig(**sizes, **special)), masks),
        "gpt2": lambda: (
            t.GPT2LMHeadModel(
                t.GPT2Config(
                    vocab_size=VOCABULARY,
                    n_layer=3,
                    n_head=4,
                    n_embd=32,
                    n_inner=64,
                    n_positions=64,
                    bos_token_id=0,
                    eos_token_id=0,
                )
            ),
            partial(language_loss, ids),
        ),
        "llama": lambda: (
            t.LlamaForCausalLM(
                t.LlamaConfig(**sizes, num_key_value_heads=2, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0)
            ),
            partial(language_loss, ids),
        ),
    }[family]()
    trained(network, loss, len(ids)).save_pretrained(folder)
    own.save_pretrained(folder)
    return ["--corpus", text]


def space_file(family, folder):
    choices, maximum, rule = ({"D": [1, 2, 3], "H": [8, 16, 24, 32]}, {"D": 3, "H": 32}, None)
    if family != "mlp":
        choices, maximum, rule = SHARED if family == "llama" else PARTITIONED
    path = folder / "small.toml"
    path.write_text(
        SPACE.format(
            family=family,
            rules=f'"{rule}"' if rule else "",
            choices="\n".join(f"{name} = {value}" for name, value in choices.items()),
            maximum="\n".join(f"{name} = {value}" for name, value in maximum.items()),
        )
    )
    return path


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "gpt2", "llama", "vit", "mlp"])
def test_a_run_ends_with_a_model_that_loads(family, tmp_path, text, tokenizer, decoders_tokenizer, in_process):
    import transformers as t

    data = teacher(family, tmp_path / "teacher", text, tokenizer, decoders_tokenizer)
    words = ["--steps", 2, "--tokens", 16_384, "--threads", 1, "--device", "cpu", "--limit", "encoder_parameters=60%"]
    out = tmp_path / "out"
    code, printed, said = in_process(
        "run", space_file(family, tmp_path), "--teacher", tmp_path / "teacher", *data, *words, "--out", out, "--json"
    )
    assert code == 0, said
    result = json.loads(printed)
    models = {model["name"]: model for model in result["models"] if model["runtime"] == "eager"}
    assert models["T"]["error"]["mean"] == 0
    assert 0 < models["choice"]["error"]["mean"] < result["controls"]["mean"]
    task = result["task"]["name"]
    assert task == {"bert": "masked", "modernbert": "masked", "gpt2": "causal", "llama": "causal"}.get(
        family, "classes"
    )
    for figure in models["T"]["figures"]:
        assert models["choice"]["figures"][figure]["mean"] > 0
    shape = result["selected"]
    if family == "mlp":
        network = load_own(out / "model", mlp)
        assert mlp.architecture_of(network.config) == shape
        assert network(torch.zeros(2, 64)).shape == (2, 10)
        return
    kind = {"masked": t.AutoModelForMaskedLM, "causal": t.AutoModelForCausalLM}.get(
        task, t.AutoModelForImageClassification if family == "vit" else t.AutoModelForSequenceClassification
    )
    network, found = kind.from_pretrained(out / "model", output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    again = tmp_path / "again"
    code, printed, said = in_process(
        "distill", *(f"{name}={value}" for name, value in shape.items()), "--space", tmp_path / "small.toml",
        "--teacher", out / "model", *data, "--tokens", 1, "--threads", 1, "--out", again, "--json",
    )  # fmt: skip
    assert code == 0, said
    assert json.loads(printed)["error"] < 0.1 * result["controls"]["mean"]  # a copy of the student, cut out of itself


def test_a_family_of_ones_own_takes_the_whole_journey(tmp_path, in_process):
    example = (Path(__file__).parents[1] / "examples" / "own_family.py").read_text(encoding="utf-8")
    file = tmp_path / "own.py"
    file.write_text(example.partition("\nfound = ")[0], encoding="utf-8")  # its family and space, without its search
    family = load_space(file).family
    torch.manual_seed(0)
    images, labels = digits()
    values = torch.from_numpy(images).flatten(1)
    network = family.build({"D": 6, "H": 64, "I": 128}, {"inputs": 64, "outputs": 10})
    loss = partial(class_loss, {"values": values}, torch.from_numpy(labels))
    save_own(trained(network, loss, len(labels), rate=1e-3), family, tmp_path / "teacher")
    np.savez(tmp_path / "digits.npz", values=images.reshape(len(images), -1), labels=labels)
    code, printed, said = in_process(
        "run", file, "--teacher", tmp_path / "teacher", "--data", tmp_path / "digits.npz", "--limit", "parameters=30%",
        "--steps", 2, "--tokens", 8192, "--threads", 1, "--device", "cpu", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert code == 0, said
    result = json.loads(printed)
    student = load_own(tmp_path / "out" / "model", family)
    assert family.architecture_of(student.config) == result["selected"]
    with torch.no_grad():
        right = float((student(values).argmax(dim=1).numpy() == labels).mean())
    assert right > 0.5
