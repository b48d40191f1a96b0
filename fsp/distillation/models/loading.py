"""Loading models in Hugging Face format: a model that would not compute what was trained is refused."""

import json
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fsp.base.errors import InputError, ModelWarning, is_out_of_memory
from fsp.distillation.models.folder import check_folder, encoder_in, find_model, has_weights
from fsp.distillation.text.corpus import SENTENCE_TOKENS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_SPARE_ROWS = 256  # the most rows of an embedding table without a token
_SHARE_OF_CAPITALS = 0.01  # share of a vocabulary; a vocabulary of lower-cased text has no capitals
# model types that count positions from the padding token's id + 1
_COUNT_FROM_PADDING = frozenset(
    {
        *("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "data2vec-text"),
        *("ibert", "longformer", "xmod", "luke", "mpnet", "markuplm"),
    }
)
_HEADS = re.compile(  # parts outside the body that may stay unused
    r"(cls|lm_head|predictions|generator_predictions|generator_lm_head|discriminator_predictions|head|decoder|"
    r"vocab_\w+|classifier|pre_classifier|qa_outputs|score|pooler|seq_relationship|sop_classifier)\."
)
_BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|attn\.(masked_)?bias)$")
METADATA = frozenset(  # keys of config.json that do not change what a model computes
    {
        *("_name_or_path", "_commit_hash", "transformers_version", "torch_dtype", "dtype", "architectures", "language"),
        *("id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task", "custom_pipelines"),
        *("task_specific_params", "use_cache", "gradient_checkpointing", "torchscript", "use_bfloat16", "model_type"),
        *("output_attentions", "output_hidden_states", "output_past", "return_dict", "chunk_size_feed_forward"),
        *("directionality", "pooler_type", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
        *("pooler_size_per_head", "_attn_implementation", "_attn_implementation_autoset", "sentence_transformers"),
    }
)
_LOOKED_AT = ("auto_map", "position_embedding_type", "pruned_heads", "quantization_config")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and reports."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def longest_input(config: "PretrainedConfig") -> int:
    """Return the largest number of tokens in an input; `sys.maxsize` if there is no table of positions.

    RoBERTa and its relatives do not use the first positions of their table, up to the padding token's id.

    Example:
        >>> from transformers import RobertaConfig
        >>> longest_input(RobertaConfig(max_position_embeddings=514, pad_token_id=1))
        512
    """
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return sys.maxsize
    if config.model_type not in _COUNT_FROM_PADDING:
        return positions
    padding = 1 if config.model_type == "mpnet" else config.pad_token_id  # hard-coded in MPNet
    assert padding is not None  # refused by `open_model`
    return int(positions - padding - 1)


def reads_text(config: Any) -> bool:
    """Return whether a network of this configuration takes token ids."""
    return getattr(config, "vocab_size", None) is not None


def takes_types(config: Any) -> bool:
    """Return whether a network of this configuration distinguishes the second of two texts by token types.

    Some tokenizers give types to networks that would take them for something else: GPT-2 for words, RoBERTa for rows
    that its table of types does not have.
    """
    return getattr(config, "type_vocab_size", 0) > 1


def sentence_tokens(config: "PretrainedConfig") -> int:
    """Return the length in tokens at which sentences are cut off: 128, or the model's longest input if shorter."""
    return min(SENTENCE_TOKENS, longest_input(config))


@dataclass(frozen=True)
class ModelFolder:
    """A model whose configuration was read and is supported; `open_model` returns it.

    Attributes:
        what: its role in messages, such as "teacher".
        source: its name as the user gave it.
        root: the model's folder.
        folder: the folder with its network and config.json; below `root` in an old layout of sentence-transformers.
        config: configuration of the network.
    """

    what: str
    source: str
    root: Path
    folder: Path
    config: "PretrainedConfig"

    @property
    def name(self) -> str:
        """Its name in reports: the name of the folder or on the hub."""
        return Path(self.source).name if Path(self.source).is_dir() else self.source

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Put the model's name before the messages of errors in this block, and silence libraries."""
        with _blamed(self.what, self.source):
            yield

    def network(
        self, auto: Any, *, new_head: bool = False, **options: Any
    ) -> tuple["PreTrainedModel", tuple[str, ...]]:
        """Return the network in evaluation mode, float32, on the CPU, and the names of missing weights.

        Missing weights are random: the caller decides which of them it can do without. A missing pooler of a bare body
        is left out.

        Args:
            auto: a class such as `transformers.AutoModel`.
            new_head: take random weights for a head whose sizes differ.
            options: options of `from_pretrained`.

        Raises:
            InputError: there are no weights, they differ from config.json in sizes or parts, parts of the body are
                missing, or weights are not finite.
        """
        with self.blamed():
            if not has_weights(self.folder):
                raise InputError("it has no weights; put model.safetensors beside its config.json")
            network, found = self._loaded(auto, ignore_mismatched_sizes=new_head, **options)
            _check_sizes(found["mismatched_keys"], network, new_head)
            missing = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
            lacking = sorted(key for key in missing if _of_body(key, network))
            if lacking:
                raise InputError(f"it lacks weights for {lacking[0]} and {len(lacking) - 1} more; it is not trained")
            self._check_unused(found["unexpected_keys"], network)
            _check_numbers(network, missing)
        if network.base_model is network and any(key.startswith("pooler.") for key in missing):
            network.pooler = None
            missing = {key for key in missing if not key.startswith("pooler.")}
        return network.eval(), tuple(sorted(missing))

    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Return the tokenizer, able to pad: if it has no padding token, with config.json's or a decoder's end token.

        Raises:
            InputError: there is no tokenizer, it is not the model's own, or it cannot pad.
        """
        from transformers import AutoTokenizer

        with self.blamed():
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
            _check_tokenizer(tokenizer, self.config)
            _let_pad(tokenizer, self.config)
            if capitals := _unreachable_capitals(tokenizer):
                _warn(
                    f"{self.what} {self.source}: {capitals:,} tokens have capitals, which its tokenizer lower-cases; "
                    'if the model is cased, put "do_lower_case": false into its tokenizer_config.json'
                )
        return tokenizer

    def _loaded(self, auto: Any, **options: Any) -> tuple["PreTrainedModel", dict[str, Any]]:
        """Return the network and transformers' loading report; if sizes differ, no memory is taken."""
        options |= {"dtype": torch.float32, "output_loading_info": True, "local_files_only": True}
        options["trust_remote_code"] = False  # the default asks at a terminal whether to run code
        try:
            loaded: tuple[PreTrainedModel, dict[str, Any]] = auto.from_pretrained(self.folder, **options)
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            options |= {"ignore_mismatched_sizes": True, "device_map": "meta"}
            loaded = auto.from_pretrained(self.folder, **options)
        return loaded

    def _check_unused(self, unexpected: set[str], network: "PreTrainedModel") -> None:
        """Refuse weights that the body has no place for; warn of other unused weights, except those of known heads."""
        unused = sorted(key for key in unexpected if not _BUFFERS.search(key))
        if inside := [key for key in unused if _of_body(key, network)]:
            depth = getattr(self.config, "num_hidden_layers", "?")
            raise InputError(
                f"its weights hold {inside[0]} and {len(inside) - 1} more, which its config.json "
                f"({self.config.model_type}, num_hidden_layers {depth}) has no place for; take the config.json that "
                "belongs to them"
            )
        if unknown := [key for key in unused if not _HEADS.match(_without_prefix(key, network))]:
            _warn(f"{self.what} {self.source}: weights that are not used: {unknown[0]} and {len(unknown) - 1} more")


def open_model(source: str | Path, *, what: str = "model") -> ModelFolder:
    """Find a model and read its configuration; weights and tokenizer are loaded on demand.

    Code that comes with a model is never run.

    Args:
        source: a directory or a hub name.
        what: its role in messages.

    Raises:
        InputError: there is no such model, or its configuration asks for something that fsp does not support.
    """
    from transformers import AutoConfig

    with _blamed(what, source):
        root = find_model(source)
        folder = encoder_in(root)
        raw = check_folder(folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        _check_config(raw, config)
        if unknown := _unknown_keys(raw, config):
            _warn(
                f"{what} {source}: its config.json says {unknown[0]}={json.dumps(raw[unknown[0]])[:60]}"
                f"{f' and {len(unknown) - 1} more' if unknown[1:] else ''}, which transformers' {config.model_type} "
                "does not know and ignores"
            )
    return ModelFolder(what, str(source), root, folder, config)


@contextmanager
def _blamed(what: str, source: str | Path) -> Iterator[None]:
    try:
        with quiet():
            yield
    except InputError as error:
        raise InputError(f"{what} {source}: {error}") from None
    except Exception as error:  # the loaders raise errors of many kinds; each means that the model cannot be used
        if is_out_of_memory(error):
            raise
        raise InputError(f"cannot load {what} {source}: {' '.join(str(error).split())[:200]}") from None


def _warn(text: str) -> None:
    warnings.warn(text, ModelWarning, stacklevel=2)


def _check_config(raw: Mapping[str, Any], config: "PretrainedConfig") -> None:
    """Refuse settings that change a network's function and that transformers or fsp does not support."""
    kind = raw.get("position_embedding_type")
    if kind not in (None, "absolute") and not knows(config, "position_embedding_type"):
        raise InputError(
            f"its config.json says position_embedding_type={kind!r}, which transformers no longer supports; "
            "only absolute positions can be computed"
        )
    if raw.get("quantization_config"):
        raise InputError(
            "its weights are quantised (quantization_config); take the model in float32, float16 or bfloat16"
        )
    if raw.get("pruned_heads"):
        raise InputError("its heads are pruned unevenly (pruned_heads), which transformers no longer supports")
    if raw.get("add_cross_attention"):
        raise InputError("it attends to the states of another model (add_cross_attention); such a decoder cannot be T")
    if config.model_type in _COUNT_FROM_PADDING and config.model_type != "mpnet" and config.pad_token_id is None:
        raise InputError(
            f"its config.json has no pad_token_id, which {config.model_type} counts positions from; put the number of "
            "its tokenizer's padding token there"
        )


def knows(config: "PretrainedConfig", key: str) -> bool:
    """Whether a key of config.json is one of its class; transformers stores others but does not use them."""
    kind = type(config)
    return key in kind.attribute_map or hasattr(kind, key) or hasattr(kind(), key)


def _unknown_keys(raw: Mapping[str, Any], config: "PretrainedConfig") -> list[str]:
    """Keys with a value that are not metadata and that the configuration's class does not use."""
    harmless = METADATA.union(_LOOKED_AT)
    return sorted(key for key, value in raw.items() if value and key not in harmless and not knows(config, key))


def check_classes(config: "PretrainedConfig") -> None:
    """Raise InputError if a head's outputs are not the logits of classes that exclude each other."""
    if config.problem_type not in (None, "single_label_classification"):
        raise InputError(
            f"its problem_type is {config.problem_type}, so its outputs are no probabilities of classes that exclude "
            "each other; take a classifier of such classes"
        )
    if config.num_labels < 2:
        raise InputError(
            "its head gives one number, so there are no classes to compare; take a classifier of two or more"
        )


def let_find_the_last_token(config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Tell a decoder's classifier the padding token: it reads the last token of a text that is none.

    Raises:
        InputError: in a padded batch it would read another token than of the text alone.
    """
    own, padding = config.pad_token_id, tokenizer.pad_token_id
    if own not in (None, padding):
        raise InputError(
            f"its tokenizer pads with token {padding} and its model with {own}, by which it finds the last token of a "
            f"text; put {padding} as pad_token_id into its config.json, or name the model's token as pad_token in its "
            "tokenizer_config.json"
        )
    ids: Any = tokenizer("a")["input_ids"]
    if own is None and ids[-1:] == [padding]:
        raise InputError(
            f"its tokenizer ends every text with the token that pads them ({tokenizer.pad_token}), and its model would "
            "take that for padding; name another pad_token in its tokenizer_config.json"
        )
    config.pad_token_id = padding


def check_sees_both_sides(config: "PretrainedConfig") -> None:
    """Raise InputError if a model that should be a masked language model is a decoder."""
    if getattr(config, "is_decoder", False):
        raise InputError(
            "its config.json says is_decoder, so tokens see only those before them: it is no masked language model; "
            "if that is a mistake, put false there"
        )


def _check_sizes(mismatched: set[tuple[str, Any, Any]], network: "PreTrainedModel", new_head: bool) -> None:
    for key, stored, wanted in sorted(mismatched, key=lambda row: row[0]):
        if not new_head or _of_body(key, network):
            sizes = [" x ".join(map(str, shape)) for shape in (stored, wanted)]
            raise InputError(
                f"its weights and its config.json differ in size: {key} is {sizes[0]} and should be {sizes[1]}; "
                "take the config.json that belongs to them"
            )


def _without_prefix(key: str, network: "PreTrainedModel") -> str:
    return key.removeprefix("module.").removeprefix(f"{network.base_model_prefix}.")


def _of_body(key: str, network: "PreTrainedModel") -> bool:
    """Whether a weight belongs to the body; poolers count as heads."""
    first = _without_prefix(key, network).partition(".")[0]
    return first != "pooler" and first in dict(network.base_model.named_children())


def _check_numbers(network: "PreTrainedModel", random: set[str]) -> None:
    """Refuse weights that are not finite; random ones are not checked."""
    for name, weight in network.state_dict().items():
        if name not in random and weight.is_floating_point() and not bool(weight.isfinite().all()):
            what = "NaN" if bool(weight.isnan().any()) else "infinite numbers"
            raise InputError(f"it has {what} in {name}; take a sound copy of the model")


def _check_tokenizer(tokenizer: Any, config: "PretrainedConfig") -> None:
    """Refuse a tokenizer that is not the model's own: its ids would mean other words, and all results would be wrong.

    Embedding tables are padded to a round number of rows, so they may have a few more rows than there are tokens.
    """
    tokens, table = len(tokenizer), config.vocab_size
    if not table - max(_SPARE_ROWS, table // 100) <= tokens <= table:
        raise InputError(
            f"its tokenizer has {tokens} tokens and its model {table}, so they do not belong together; "
            "put its own tokenizer.json (or vocabulary files) beside its config.json"
        )
    if (highest := max(tokenizer.get_vocab().values())) >= table:
        raise InputError(
            f"its tokenizer gives tokens the numbers 0 to {highest} and its model has {table} rows, so they do not "
            "belong together; put its own tokenizer.json (or vocabulary files) beside its config.json"
        )
    paddings = getattr(config, "pad_token_id", None), tokenizer.pad_token_id
    counted = config.model_type in _COUNT_FROM_PADDING  # in other types padding is masked, so its id does not matter
    if counted and None not in paddings and paddings[0] != paddings[1]:
        raise InputError(
            f"its tokenizer pads with token {paddings[1]} and its model with {paddings[0]}, so they do "
            "not belong together; put its own tokenizer.json (or vocabulary files) beside its config.json"
        )


def _let_pad(tokenizer: Any, config: "PretrainedConfig") -> None:
    if tokenizer.pad_token_id is not None:
        return
    named = getattr(config, "pad_token_id", None)
    if named is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(named)
    elif tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    else:
        raise InputError("its tokenizer has no padding token; name it as pad_token in its tokenizer_config.json")


def _unreachable_capitals(tokenizer: Any) -> int:
    """Number of tokens with capitals that cannot occur because the tokenizer lower-cases text; 0 if they are few."""
    normaliser = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if normaliser is None or normaliser.normalize_str("Aa") != "aa":
        return 0
    own = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    found = sum(token not in own and token != token.lower() for token in tokenizer.get_vocab())
    return found if found > _SHARE_OF_CAPITALS * len(tokenizer) else 0
