"""Train the small T's of the experiments on families, each with `quality.json` beside it.

    python experiments/families/teachers.py mlp vit llama gpt2 modernbert    # README.md has the times on one core

Needs the folders of text.py and images.py. An interrupted training goes on where it was; a finished one is skipped.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
)

from fsp.base.files import write_json
from fsp.distillation.fitting import adamw, learning_rate_at
from fsp.distillation.masking import Masking
from fsp.distillation.text import pack
from fsp.families import mlp

VOCABULARY, LENGTH, POSITIONS = 8192, 128, 512
SAVED = 100  # steps from one checkpoint to the next
SHIFT = 2  # pixels that images are shifted at most while training
END = "<|endoftext|>"
MARKS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
MLP = {"architecture": {"D": 6, "H": 256}, "constants": {"inputs": 784, "outputs": 10}}
Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # numbers of rows and a seed to logits and targets


@dataclass(frozen=True)
class Recipe:
    """How a T is trained: AdamW at a peak learning rate, warm-up over 5% of the steps, linear decay."""

    steps: int
    batch: int
    rate: float


RECIPES = {
    "mlp": Recipe(5000, 64, 1e-3),
    "vit": Recipe(5000, 64, 1e-3),
    "llama": Recipe(2000, 16, 3e-3),
    "gpt2": Recipe(1800, 16, 2e-3),
    "modernbert": Recipe(1600, 16, 2e-3),
}


def passages(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").strip().split("\n\n")


def tokenizer_in(folder: Path, texts: list[str], *, masked: bool) -> PreTrainedTokenizerBase:
    """Return the byte-level BPE tokenizer in a folder, trained on the texts if there is none yet."""
    if not (folder / "tokenizer.json").exists():
        special = list(MARKS.values()) if masked else [END]
        bpe = Tokenizer(models.BPE(unk_token=MARKS["unk_token"] if masked else None))
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet)
        bpe.train_from_iterator(texts, trainer)
        if masked:
            start, end = MARKS["cls_token"], MARKS["sep_token"]
            bpe.post_processor = processors.TemplateProcessing(
                single=f"{start} $A {end}",
                pair=f"{start} $A {end} $B {end}",
                special_tokens=[(mark, bpe.token_to_id(mark)) for mark in (start, end)],
            )
        named = MARKS if masked else dict.fromkeys(("bos_token", "eos_token", "pad_token"), END)
        PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=POSITIONS, **named).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def stream(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> np.ndarray:
    """Return blocks of texts that each end with the end token, `n x LENGTH`."""
    found = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    tokens = np.concatenate([[*ids, tokenizer.eos_token_id] for ids in found])
    return tokens[: len(tokens) // LENGTH * LENGTH].reshape(-1, LENGTH)


def language_model(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return an untrained language model of about 4 million weights, without dropout."""
    sizes = {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6}
    ends = {"vocab_size": VOCABULARY, "pad_token_id": tokenizer.pad_token_id}
    if name == "modernbert":
        start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
        ends |= {"bos_token_id": start, "cls_token_id": start, "eos_token_id": end, "sep_token_id": end}
        return ModernBertForMaskedLM(
            ModernBertConfig(**sizes, **ends, intermediate_size=384, max_position_embeddings=POSITIONS)
        )
    ends |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if name == "llama":
        heads = {"num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True}
        return LlamaForCausalLM(
            LlamaConfig(**sizes, **ends, **heads, intermediate_size=512, max_position_embeddings=POSITIONS)
        )
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return GPT2LMHeadModel(GPT2Config(n_embd=192, n_layer=6, n_head=6, n_positions=POSITIONS, **ends, **dropout))


def next_tokens(network: PreTrainedModel, blocks: Tensor) -> Predict:
    def predict(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        states = network.base_model(input_ids=blocks[rows]).last_hidden_state[:, :-1]
        return network.lm_head(states.flatten(0, 1)), blocks[rows, 1:].flatten()

    return predict


def masked_tokens(network: PreTrainedModel, blocks: Tensor, masking: Masking) -> Predict:
    def predict(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        inputs, chosen = map(torch.from_numpy, masking(blocks[rows].numpy(), seed))
        states = network.base_model(input_ids=inputs).last_hidden_state[chosen]
        return network.decoder(network.head(states)), blocks[rows][chosen]

    return predict


def labels(classify: Callable[[Tensor], Tensor], path: Path, *, shifted: bool) -> tuple[Predict, int]:
    """Return the prediction of the labels of images `n x 1 x 28 x 28`, and n."""
    with np.load(path) as arrays:
        images, wanted = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    windows = pad(images, [SHIFT] * 4).unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)

    def predict(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if not shifted:
            return classify(images[rows]), wanted[rows]
        down, right = torch.randint(2 * SHIFT + 1, (2, len(rows)), generator=torch.Generator().manual_seed(seed))
        return classify(windows[rows, :, down, right]), wanted[rows]

    return predict, len(images)


def train(network: nn.Module, predict: Predict, rows: int, recipe: Recipe, kept: Path) -> float:
    """Train a network and return the processor minutes, with those before an interruption."""
    optimiser = adamw(network, recipe.rate, 0.1, betas=(0.9, 0.98))
    done, seconds = 0, 0.0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        done, seconds = state["steps"], state["seconds"]
    generator = torch.Generator().manual_seed(0)
    passes = recipe.steps * recipe.batch // rows + 1
    order = torch.cat([torch.randperm(rows, generator=generator) for _ in range(passes)])
    begun, losses = time.process_time() - seconds, []
    for step in range(done, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * learning_rate_at(step, recipe.steps, 0.05)
        with torch.autocast("cpu", torch.bfloat16):  # weights stay in float32
            logits, targets = predict(order[step * recipe.batch : (step + 1) * recipe.batch], step)
        loss = cross_entropy(logits.float(), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % SAVED == 0:
            seconds = time.process_time() - begun
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save(state | {"steps": step + 1, "seconds": seconds}, kept.with_suffix(".new"))
            kept.with_suffix(".new").rename(kept)
            print(f"{kept.parent.name} {step + 1} {np.mean(losses[-SAVED:]):.3f} {seconds / 60:.1f} min", flush=True)
    return (time.process_time() - begun) / 60


@torch.inference_mode()
def measured(predict: Predict, rows: int, unigram: Tensor | None = None) -> dict[str, float]:
    """Return mean loss in nats and accuracy; with the logarithms of frequencies also the loss of these, perplexity."""
    losses, right, guessed = [], [], []
    for chosen in torch.arange(rows).split(50):
        logits, targets = predict(chosen, 0)
        losses.append(cross_entropy(logits, targets, reduction="none"))
        right.append((logits.argmax(dim=-1) == targets).float())
        guessed.append(-unigram[targets] if unigram is not None else losses[-1])
    loss, accuracy, frequency = (float(torch.cat(found).mean()) for found in (losses, right, guessed))
    found = {"loss": round(loss, 4), "accuracy": round(accuracy, 4)}
    if unigram is not None:
        found |= {"unigram_loss": round(frequency, 4), "perplexity": round(math.exp(loss), 2)}
    return found


def text_teacher(name: str, out: Path) -> dict[str, object]:
    masked = name == "modernbert"
    texts = {part: passages(out / "text" / f"{part}.txt") for part in ("train", "held_out", "other")}
    texts["other"] = texts["other"][: len(texts["held_out"])]
    tokenizer = tokenizer_in(out / "tokenizers" / ("masked" if masked else "causal"), texts["train"], masked=masked)
    network, masking = language_model(name, tokenizer), Masking.of(tokenizer) if masked else None
    blocks, predict = {}, {}
    for part, found in texts.items():
        ids = pack(tokenizer, found, LENGTH) if masked else stream(tokenizer, found)
        blocks[part] = torch.from_numpy(ids.astype(np.int64))
        predict[part] = masked_tokens(network, blocks[part], masking) if masking else next_tokens(network, blocks[part])
    counts = torch.bincount(blocks["train"].flatten(), minlength=VOCABULARY) + 1.0
    if masking:
        counts[list(masking.special)] = 1.0  # never chosen
    unigram = (counts / counts.sum()).log()
    if masking:
        network.decoder.bias.data.copy_(unigram)  # the training begins at the loss of the frequencies
    recipe = RECIPES[name]
    minutes = train(network, predict["train"], len(blocks["train"]), recipe, out / name / "training.pt")
    network.save_pretrained(out / name)
    tokenizer.save_pretrained(out / name)
    return {
        **{part: measured(predict[part], len(blocks[part]), unigram) for part in ("held_out", "other")},
        "cpu_minutes": round(minutes, 1),
        "tokens": recipe.steps * recipe.batch * LENGTH,
        "tokens_of_text": blocks["train"].numel(),
    }


def image_teacher(name: str, out: Path) -> dict[str, object]:
    if name == "vit":
        sizes = {"hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 256}
        picture = {"image_size": 28, "patch_size": 7, "num_channels": 1, "num_labels": 10}
        dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
        network = ViTForImageClassification(ViTConfig(**sizes, **picture, **dropout))
    else:
        network = mlp.build(MLP["architecture"], MLP["constants"])

    def classify(images: Tensor) -> Tensor:
        return network(pixel_values=images).logits if name == "vit" else network(images.flatten(1))

    predict, rows = labels(classify, out / "images" / "train.npz", shifted=True)
    recipe = RECIPES[name]
    minutes = train(network, predict, rows, recipe, out / name / "training.pt")
    if name == "vit":
        network.save_pretrained(out / name)
        size = {"height": 28, "width": 28}
        rescaled = {"do_resize": True, "size": size, "do_rescale": True, "rescale_factor": 1 / 255}
        processor = {"image_processor_type": "ViTImageProcessor", "do_normalize": False}
        write_json(out / name / "preprocessor_config.json", processor | rescaled)
    else:
        save_file(network.state_dict(), out / name / "model.safetensors")
        write_json(out / name / "config.json", {"model_type": "mlp"} | MLP)
    test = measured(*labels(classify, out / "images" / "test.npz", shifted=False))
    return {"test": test, "cpu_minutes": round(minutes, 1), "images": recipe.steps * recipe.batch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.names:
        quality = options.out / name / "quality.json"
        if quality.exists():
            continue
        quality.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        found = (image_teacher if name in ("mlp", "vit") else text_teacher)(name, options.out)
        recipe = RECIPES[name]
        settings = {"steps": recipe.steps, "batch": recipe.batch, "learning_rate": recipe.rate, "threads": 1}
        command = f"python experiments/families/teachers.py {name}"
        write_json(quality, found | settings | {"command": command})
        (quality.parent / "training.pt").unlink()
        print(name, found, flush=True)


if __name__ == "__main__":
    main()
