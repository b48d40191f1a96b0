"""Near-copies against brute force, and the split of real text that keeps them together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.distillation.text.corpus import Corpus, standard_library
from fsp.distillation.text.near_copies import THRESHOLD, clusters, near_copies, normalised

words = st.lists(
    st.sampled_from(["film", "plot", "cast", "joy", "bore", "the", "a", "of", "सच", "映画"]), max_size=12
).map(" ".join)


def similarity(one, other):
    def pieces(text):
        text = normalised([text])
        return {text[i : i + 4] for i in range(max(1, len(text) - 3))}

    return len(pieces(one) & pieces(other)) / len(pieces(one) | pieces(other))


@given(st.lists(words, max_size=12), st.lists(words, max_size=12))
@settings(max_examples=200)
def test_near_copies_against_sets_of_pieces(texts, references):
    expected = [any(similarity(text, one) >= THRESHOLD for one in references) for text in texts]
    assert near_copies([[text] for text in texts], [[one] for one in references]).tolist() == expected


@given(st.lists(words, max_size=20))
@settings(max_examples=200)
def test_clusters_against_a_walk_over_all_pairs(texts):
    found = list(range(len(texts)))
    for i, one in enumerate(texts):
        for j, other in enumerate(texts[:i]):
            if similarity(one, other) >= THRESHOLD:
                found = [found[j] if number == found[i] else number for number in found]
    numbers = clusters(texts)
    assert [[a == b for b in found] for a in found] == [[a == b for b in numbers] for a in numbers]


def test_near_copies_are_found_whatever_their_case_and_space():
    text = "An utterly charming film about two brothers and a dog"
    edited = "an utterly  charming Film about three brothers and a dog"
    assert near_copies([[edited], ["Nothing of the kind happens here"]], [[text]]).tolist() == [True, False]
    assert near_copies([], [[text]]).shape == (0,)


@pytest.fixture(scope="module")
def library():
    return Corpus.of(standard_library())


def share(texts, references):
    return near_copies([[text] for text in texts], [[one] for one in references]).mean()


def test_no_held_out_passage_of_real_text_has_a_near_copy_elsewhere(library):
    """Split by a hash of each passage alone, 30% of the test passages have one in train."""
    assert share(library.test, [*library.train, *library.validation]) == 0
    assert share(library.validation, library.train) == 0
    sizes = np.array([sum(map(len, part)) for part in (library.validation, library.test)])
    assert (abs(sizes / (sizes.sum() + sum(map(len, library.train))) - 0.08) < 0.02).all()


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_planted_near_copies_stay_together(data):
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    vocabulary = ["".join(map(chr, generator.integers(97, 123, 6))) for _ in range(5000)]
    originals = [generator.choice(vocabulary, 180).tolist() for _ in range(60)]
    texts = []
    for number, original in enumerate(originals):
        for _ in range(1 + number % 3):
            edited = list(original)
            for at in generator.integers(0, len(edited), len(edited) // 10):
                edited[at] = str(generator.choice(vocabulary))
            texts.append((number, " ".join(edited)))
    order = generator.permutation(len(texts))
    corpus = Corpus.of(texts[k][1] for k in order)
    where = {text: name for name in ("train", "validation", "test") for text in getattr(corpus, name)}
    assert len(where) == len(texts)
    for number in range(60):
        assert len({where[text] for owner, text in texts if owner == number}) == 1
    again = Corpus.of(text for _, text in texts)
    assert [sorted(getattr(again, name)) for name in ("train", "test")] == [sorted(corpus.train), sorted(corpus.test)]
    assert corpus.near_copies == sum(1 for number, _ in texts if number % 3)


def test_a_giant_cluster_goes_to_train():
    generator = np.random.default_rng(0)
    vocabulary = ["".join(map(chr, generator.integers(97, 123, 6))) for _ in range(5000)]
    form = " ".join(generator.choice(vocabulary, 150))
    copies = [f"{form} {' '.join(generator.choice(vocabulary, 20))}" for _ in range(60)]
    others = [" ".join(generator.choice(vocabulary, 170)) for _ in range(300)]
    for start in range(5):  # whatever the hash of the cluster
        corpus = Corpus.of([*copies[start:], *others])
        assert set(copies[start:]) <= set(corpus.train)
        assert corpus.validation and corpus.test
    alike = Corpus.of(copies)
    assert not alike.test
    assert "60 of them near-copies" in str(alike.too_small("test", "0 tokens", "2,048"))
