from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsp.base.errors import InputError
from fsp.finetuning.examples import Data, Example, normalised
from fsp.finetuning.expansion import Expansion
from fsp.finetuning.generators import Edits, Masked, Mix, Refill, Synonyms, load_masked

TABLE = {"film": ["movie", "picture"], "good": ["fine", "great"], "bad": ["poor"]}
TEXTS = [("A good film!", "It is GOOD, is it not?"), ("Bad, very bad.", "x"), ("film", "1999")]


def synonyms(word):
    return TABLE.get(word, [])


def bags(texts):
    """Vectors of letter counts."""
    return np.array([[" ".join(f).lower().count(c) for c in "abcdefgilmnorst"] for f in texts], dtype=np.float32) + 0.1


@pytest.fixture(scope="module")
def masked(minilm_folder):
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(num_hidden_layers=1, num_attention_heads=2, hidden_size=16, intermediate_size=16)
    return Masked(BertForMaskedLM(config).eval(), AutoTokenizer.from_pretrained(minilm_folder))


@pytest.fixture(params=["edits", "mask", "mix"])
def generator(request, masked):
    if request.param == "edits":
        return Edits(synonyms, points=3)
    if request.param == "mask":
        return Refill(masked, points=3)
    pool = [("An old play.", "so it was"), ("Some good songs", "they are loud"), ("What a film", "it was bad")]
    return Mix(bags, pool, points=3)


def test_new_texts_keep_the_format_and_are_few_different_and_seeded(generator):
    made = generator(TEXTS, np.random.default_rng(1))
    assert len(made) == len(TEXTS) and any(made)
    for original, found in zip(TEXTS, made, strict=True):
        assert len(found) <= 3
        assert len({normalised(f) for f in found} | {normalised(original)}) == len(found) + 1
        for fields in found:
            assert isinstance(fields, tuple) and len(fields) == 2 and all(field.strip() for field in fields)
    assert generator(TEXTS, np.random.default_rng(1)) == made
    assert generator(TEXTS, np.random.default_rng(2)) != made
    assert generator([], np.random.default_rng(1)) == []


@given(st.text(min_size=1).filter(str.strip), st.integers(0, 99))
def test_edits_take_any_text(text, seed):
    for fields in Edits(synonyms, points=2)([(text,)], np.random.default_rng(seed))[0]:
        assert fields[0].strip()


def test_a_synonym_keeps_punctuation_and_capitals():
    made = Edits(synonyms, points=40)([("Good, GOOD film!",)], np.random.default_rng(0))[0]
    words = {word for (field,) in made for word in field.split()}
    assert {"Fine,", "Great,", "FINE", "GREAT", "movie!", "picture!"} <= words
    assert not words & {"fine,", "Film!", "fine!"}


def test_synonyms_are_the_nearest_words_of_the_embedding_table(minilm_folder):
    from transformers import AutoModel, AutoTokenizer

    table = AutoModel.from_pretrained(minilm_folder).get_input_embeddings().weight.detach().numpy()
    nearest = Synonyms(table, AutoTokenizer.from_pretrained(minilm_folder))
    assert nearest("terrible")[:2] == ["horrible", "awful"]
    assert "film" in nearest("movie") and "movie" not in nearest("movie")
    assert nearest("##ing") == nearest("qwertyzxcv") == []


def test_masks_are_filled_in_their_own_places(masked):
    text = "One two three four five six seven eight nine ten"
    for (field,) in Refill(masked, points=8)([(text,)], np.random.default_rng(0))[0]:
        pairs = list(zip(text.split(), field.split(), strict=True))
        changed = [(old, new) for old, new in pairs if old != new]
        assert 1 <= len(changed) <= 2
        assert all(new.isalpha() and new[0].isupper() == old[0].isupper() for old, new in changed)


def test_words_that_the_model_does_not_see_stay(masked):
    text = " ".join(f"word{'abcdefghij'[i % 10]}" for i in range(300))
    for (field,) in Refill(masked, points=2, length=16)([(text,)], np.random.default_rng(0))[0]:
        assert field.split()[16:] == text.split()[16:]


def test_a_text_with_a_mask_of_its_own_or_without_words_gives_nothing(masked):
    assert Refill(masked, points=2)([("so [MASK] it",), ("12 34",)], np.random.default_rng(0)) == [[], []]


def test_a_mix_begins_with_one_text_and_ends_with_its_neighbour():
    pool = [("one two three four five six seven eight",)]
    made = Mix(bags, pool, points=10)([("A B C D E F",)], np.random.default_rng(0))[0]
    for (field,) in made:
        ours = [word.isupper() for word in field.split()]
        assert ours == sorted(ours) or ours == sorted(ours, reverse=True)
        assert 0 < sum(ours) < len(ours)


def test_an_encoder_is_no_masked_language_model(minilm_folder):
    with pytest.raises(InputError, match="is no masked language model: its checkpoint lacks"):
        load_masked(str(minilm_folder))


DATA = Data(
    ("bad", "good"),
    train=(Example(("a film that is known",), 1), Example(("another one altogether",), 0)),
    dev=(Example(("the story of a very long journey",), 1), Example(("nothing much to see here",), 0)),
    final=(Example(("the secret text that no point may repeat",), 1),),
    final_is="test",
)


class Given:
    points = 3

    def __init__(self, made):
        self.made = made

    def __call__(self, texts, random):
        return [self.made[fields] for fields in texts]


def sure(texts):
    """Certain of short texts, doubtful of long ones, `good` at an even number of letters."""
    spread = np.array([0.9 if len(f[0]) < 30 else 0.6 for f in texts]).reshape(-1, 1)
    even = np.array([len(f[0]) % 2 == 0 for f in texts]).reshape(-1, 1)
    return np.where(even, np.hstack([1 - spread, spread]), np.hstack([spread, 1 - spread]))


def test_points_are_dropped_labelled_and_counted():
    made = {
        DATA.dev[0].fields: [
            ("the story of a very short journey",),
            ("the secret text that no points may repeat",),
            ("A film that is  known",),
        ],
        DATA.dev[1].fields: [("quite new",)],
    }
    expand = Expansion(DATA, Given(made), sure)
    points = expand([0, 1], 0)
    assert points == [
        Example(("the story of a very short journey",), 0, None, 0),
        Example(("quite new",), 0, None, 1),
    ]
    assert expand.total.__dict__ == {
        "generated": 4, "dropped_near_final": 1, "dropped_known": 1, "dropped_doubtful": 0, "kept": 2, "near_dev": 1, "as_source": 1,
    }  # fmt: skip
    assert expand([1], 1) == []  # its point is there already
    assert expand.total.dropped_known == 2


def test_the_labellers_confidence_filters_and_softens():
    made = {DATA.dev[0].fields: [("the story of a very short journey",), ("short",)]}
    expand = Expansion(DATA, Given(made), sure, confidence=0.8, soft=True)
    assert expand([0], 0) == [Example(("short",), 0, pytest.approx((0.9, 0.1)), 0)]
    assert expand.total.dropped_doubtful == 1


class Numbered:
    points = 1

    def __call__(self, texts, random):
        return [[(f"{fields[0]} {random.integers(10**9)}",)] for fields in texts]


def test_as_many_random_rows_as_mistakes_are_expanded():
    dev = tuple(Example((f"row {i} of dev",), i % 2) for i in range(40))
    data = replace(DATA, dev=dev)
    expand = Expansion(data, Numbered(), sure, seed=3, of="random")
    rounds = [[point.source for point in expand(range(8), number)] for number in (0, 1)]
    assert [len(rows) for rows in rounds] == [8, 8] and rounds[0] != rounds[1]
    assert all(len(set(rows)) == 8 and set(rows) - set(range(8)) for rows in rounds)
    again = Expansion(data, Numbered(), sure, seed=3, of="random")
    assert [[point.source for point in again(range(8), number)] for number in (0, 1)] == rounds


def test_where_all_points_are_dropped_nothing_is_labelled():
    from fsp.finetuning.labellers import load_labeller

    made = {DATA.dev[0].fields: [DATA.train[0].fields]}
    assert Expansion(DATA, Given(made), load_labeller("tfidf", DATA.train, DATA.labels))([0], 0) == []
