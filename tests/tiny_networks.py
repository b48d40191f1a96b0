"""Tiny networks of every model type and head, with random values added to all weights, so that every wrong index shows."""

import torch
import transformers

SIZES = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}
TABLES = {"vocab_size": 100, "max_position_embeddings": 40, "pad_token_id": 0}
TYPED = {**SIZES, **TABLES, "type_vocab_size": 2}
GROUPED = {**SIZES, **TABLES, "num_key_value_heads": 2, "head_dim": 10}
IMAGES = {**SIZES, "image_size": 24, "patch_size": 6}
SETTINGS = {  # by model type
    **{kind: TYPED for kind in ("bert", "roberta", "xlm-roberta", "camembert")},
    "electra": {**SIZES, **TABLES, "embedding_size": 32},
    "distilbert": {"n_layers": 3, "n_heads": 4, "dim": 32, "hidden_dim": 48, **TABLES},
    "gpt2": {
        "n_layer": 3, "n_head": 4, "n_embd": 32, "n_inner": 48, "n_positions": 40, "vocab_size": 100, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 1,
    },
    "modernbert": {
        **SIZES, **TABLES, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 6,
    },
    **{kind: GROUPED for kind in ("llama", "mistral", "qwen2", "qwen3")},
    **{kind: IMAGES for kind in ("vit", "deit")},
}  # fmt: skip
BARE = {  # by model type
    "bert": "BertModel", "roberta": "RobertaModel", "xlm-roberta": "XLMRobertaModel", "camembert": "CamembertModel",
    "electra": "ElectraModel", "distilbert": "DistilBertModel", "gpt2": "GPT2Model", "modernbert": "ModernBertModel",
    "llama": "LlamaModel", "mistral": "MistralModel", "qwen2": "Qwen2Model", "qwen3": "Qwen3Model",
    "vit": "ViTModel", "deit": "DeiTModel",
}  # fmt: skip


def perturb(network):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return network.eval().requires_grad_(False)


def tiny(kind, head="", **settings):
    """Return a network of a model type, bare or with a head such as `ForMaskedLM`."""
    config = transformers.AutoConfig.for_model(kind, **{**SETTINGS[kind], **settings})
    name = BARE[kind].removesuffix("Model") + head if head else BARE[kind]
    torch.manual_seed(0)
    return perturb(getattr(transformers, name)(config))


def given(kind, samples=60):
    """Return arguments of a forward pass: texts of 16 tokens, or images."""
    generator = torch.Generator().manual_seed(2)
    if kind in ("vit", "deit"):
        return {"pixel_values": torch.randn(samples, 3, 24, 24, generator=generator)}
    return {"input_ids": torch.randint(5, 100, (samples, 16), generator=generator)}


def outputs(network, inputs):
    """Return all tensors that a network gives, by name."""
    with torch.no_grad():
        found = network(**inputs)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
