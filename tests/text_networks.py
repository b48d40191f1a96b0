"""Directories of tiny networks of every model type, with a tokenizer of a hundred words where they read text."""

from pathlib import Path

import torch
from tiny_networks import tiny

WORDS = """[PAD] [END] [UNK] a an and are as at be by can file for from function has if in is it list module no
not object of on one or return returns set string text that the this to two type value when which will with good bad film
story actor plot scene music ending"""


def tokenizer():
    """Return a tokenizer of whole words that puts nothing around a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS.split())}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]")


def saved(kind: str, head: str, folder: Path, *, noise: float = 0.3, **settings: int) -> Path:
    """Write a tiny network of a model type, bare or with a head, and return its folder."""
    network = tiny(kind, head, **settings)
    if noise != 0.3:
        with torch.no_grad():
            for weight in network.parameters():
                weight.mul_(noise / 0.3)
    network.save_pretrained(folder)
    if kind not in ("vit", "deit"):
        tokenizer().save_pretrained(folder)
    return folder
