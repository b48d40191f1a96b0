import pytest

TYPES = ("bert", "roberta", "distilbert", "electra", "modernbert", "gpt2", "llama")
CAUSAL = ("gpt2", "llama")
SHAPE = {"D": 2, "A": 2, "H": 16, "I": 24}
FEW = dict(steps=4, batch=4, length=24, dropout=0.0)


def shape_of(kind, **shape):
    """A shape of a type: a llama's pairs of heads share keys and values."""
    return {**shape, "K": shape["A"] // 2} if kind == "llama" else shape


def small_network(kind: str, *, seed: int = 0, vocab_size: int = 2000, positions: int = 64, headless: bool = False):
    """A random network of each supported type, ⟨3, 4, 32, 48⟩ with 2,000 tokens."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    standard = dict(num_hidden_layers=3, num_attention_heads=4, hidden_size=32, intermediate_size=48)
    options = {
        "bert": standard,
        "roberta": {**standard, "type_vocab_size": 1, "pad_token_id": 0},
        "distilbert": dict(n_layers=3, n_heads=4, dim=32, hidden_dim=48),
        "electra": {**standard, "embedding_size": 12},
        "modernbert": {
            **standard,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "cls_token_id": 2,
            "sep_token_id": 3,
        },
        "gpt2": dict(n_layer=3, n_head=4, n_embd=32, n_inner=48, bos_token_id=2, eos_token_id=3),
        "llama": {**standard, "num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3},
    }[kind]
    extra = 1 if kind == "roberta" else 0  # it counts positions from behind the padding token
    name = "n_positions" if kind == "gpt2" else "max_position_embeddings"
    config = AutoConfig.for_model(
        kind, vocab_size=vocab_size, initializer_range=0.1, **{name: positions + extra}, **options
    )
    torch.manual_seed(seed)
    auto = AutoModel if headless else AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    return auto.from_config(config, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with real text, Python's help topics: 650 kB in one file."""
    import ast
    import sysconfig
    from pathlib import Path

    tree = ast.parse(Path(sysconfig.get_path("stdlib"), "pydoc_data", "topics.py").read_bytes())
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "docs.txt").write_text("\n\n".join(text for text in strings if len(text) > 100), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory, corpus):
    """Real WordPiece and byte-level BPE tokenizers of 2,000 tokens, trained on real text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    text = (corpus / "docs.txt").read_text()[:200_000].splitlines()
    word = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    word.normalizer, word.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    word.train_from_iterator(
        text, trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special, show_progress=False)
    )
    byte = Tokenizer(models.BPE())
    byte.pre_tokenizer, byte.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    byte.train_from_iterator(
        text,
        trainers.BpeTrainer(
            vocab_size=2000,
            special_tokens=["<pad>", "<unk>", "<s>", "</s>", "<mask>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    angled = dict(zip(names, ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True))
    return {
        "word": PreTrainedTokenizerFast(tokenizer_object=word, **names),
        "byte": PreTrainedTokenizerFast(tokenizer_object=byte, **angled),
        "decoder": PreTrainedTokenizerFast(tokenizer_object=byte, eos_token="</s>", bos_token="</s>"),
    }


@pytest.fixture(scope="session")
def teachers(tmp_path_factory, tokenizers):
    """A directory of each supported type, and `headless`, a BERT without vocabulary head."""
    root = tmp_path_factory.mktemp("teachers")
    for kind in (*TYPES, "headless"):
        padded = 8 if kind in ("distilbert", "llama") else 0  # rows of the tables that stand for no token
        network = small_network(
            "bert" if kind == "headless" else kind, vocab_size=2000 + padded, headless=kind == "headless"
        )
        network.save_pretrained(root / kind)
        name = {"gpt2": "decoder", "llama": "decoder", "roberta": "byte", "modernbert": "byte"}.get(kind, "word")
        tokenizers[name].save_pretrained(root / kind)
    return root


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """Tokenised text is shared by all runs."""
    return tmp_path_factory.mktemp("tokenised")


@pytest.fixture
def run(teachers, corpus, text, tmp_path):
    from fsp.distillation.pretraining.run import pretrain
    from fsp.distillation.pretraining.settings import Options, PretrainingSettings

    def go(out="out", *, teacher="bert", shape=SHAPE, use_teacher=True, options=None, **settings):
        return pretrain(
            shape,
            tmp_path / out,
            teacher=teachers / teacher,
            corpus=[corpus],
            settings=PretrainingSettings(**{**FEW, **settings}),
            use_teacher=use_teacher,
            options=Options(threads=1, cache_text=text, **(options or {})),
        )

    return go


def losses(folder):
    """The losses of all steps, as the log has them."""
    from fsp.distillation.pretraining.watching import read_log

    return [(r["loss"], r["gradient_norm"]) for r in read_log(folder / "log.jsonl") if "loss" in r]
