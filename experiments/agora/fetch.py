"""Fetch the public sentiment data of the Agora experiments by package name, and write it as CSV; nothing is committed.

    python experiments/agora/fetch.py runs/sentiment

movies.csv: snippets of movie reviews with a mean rating of at least .25 in absolute value, from the sdist of PyPI's
vaderSentiment 3.3.2 (data of Hutto and Gilbert, ICWSM 2014). sentences.csv: sentences of reviews with labels from npm's
sentiment 5.0.2 (data of Kotzias et al., KDD 2015). Equal texts are kept once; rows are in a fixed random order.
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd

from fsp.finetuning.examples import normalised


def movies(folder: Path) -> pd.DataFrame:
    command = [
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
        "vaderSentiment==3.3.2",
        "-d",
        str(folder),
    ]
    subprocess.run([sys.executable, "-m", *command], check=True)
    with tarfile.open(next(folder.glob("vaderSentiment*.tar.gz"))) as outer:
        name = next(n for n in outer.getnames() if n.endswith("additional_resources/hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(outer.extractfile(name).read())) as inner:
            name = next(n for n in inner.getnames() if n.endswith("/movieReviewSnippets_GroundTruth.txt"))
            lines = inner.extractfile(name).read().decode("latin-1").splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    return pd.DataFrame(
        [
            (text, "positive" if float(rating) > 0 else "negative")
            for _, rating, text in rows
            if abs(float(rating)) >= 0.25
        ],
        columns=["text", "label"],
    )


def sentences(folder: Path) -> pd.DataFrame:
    subprocess.run(["npm", "pack", "--silent", "sentiment@5.0.2"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    found = []
    with tarfile.open(next(folder.glob("sentiment-5.0.2.tgz"))) as archive:
        for name in sorted(archive.getnames()):
            if name.endswith(("amazon.json", "imdb.json", "yelp.json")):
                for row in json.load(archive.extractfile(name)):
                    if row["class"] in (0, 1):  # each file ends with a row that has none
                        found.append((row["text"], "positive" if row["class"] else "negative"))
    return pd.DataFrame(found, columns=["text", "label"])


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for read in (movies, sentences):
        with tempfile.TemporaryDirectory() as folder:
            table = read(Path(folder))
        table = table[~table["text"].map(lambda text: normalised([text])).duplicated()]
        table = table.sample(frac=1, random_state=0)
        table.to_csv(out / f"{read.__name__}.csv", index=False)
        print(f"{read.__name__}.csv: {len(table)} rows, {(table['label'] == 'positive').mean():.1%} positive")


if __name__ == "__main__":
    main()
