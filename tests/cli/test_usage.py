"""Bad usage and bad input, of every command: exit 2 with one line that says what is wrong, and nothing written."""

import re
import shlex
import warnings
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
import typer
from running import fsp

from fsp import extract, load_space
from fsp.cli.app import app

REPLAYED = "table.csv --parameters d,h --size p --error e"
SEARCHED = f"{REPLAYED} --speed i --method fitted --evaluations 5"
SPEEDS = "speeds.csv --parameters depth,width,inner --target encoder --target decoder --train 60"
TINY = "--teacher teacher --corpus text --threads 1"
SHAPE = "D=1,A=2,H=16,I=16"
FINETUNED = "no/such/model --out o --train train.csv --dev dev.csv"
MEASURED = f"counted.toml {SHAPE}"

REFUSED = {  # by command: what follows it, and a part of the line that it is refused with
    "run": [
        ("", "Missing argument"),
        ("minilm", "Missing option '--out'"),
        ("no_such_space --out o", "no search space 'no_such_space'; there are"),
        ("missing.toml --out o", "cannot read the search space"),
        ("bert_large --out o", "names no trained teacher"),
        ("uninstalled.toml --out o", "run: pip install --no-deps not-installed==1"),
        ("minilm --out o --teacher empty", "teacher empty: it is no model directory"),
        ("minilm --out o --corpus nothing.txt", "cannot read the corpus file"),
        ("minilm --out o --limit operations", "cannot read the limit"),
        (f"space.toml --out o {TINY} --limit latency=5", "predict it with --speed calibrated, after fsp latency calibrate"),
        ("minilm --out o --steps -1", "steps must be at least 0"),
        ("minilm --out o --finalists 0", "finalists 0 is out of range"),
        ("minilm --out o --anchors 2", "anchors 2 is out of range"),
        ("minilm --out o --method certified", "a certified choice comes from fsp extract"),
        (f"space.toml --out full {TINY} --limit operations=90%", "full already holds other files (notes.txt)"),
        ("minilm --out file", "file is a file; name a folder for the results"),
        ("minilm --out o --max-memory much", "--max-memory 'much' is no amount of memory"),
    ],
    "text": [("--words", "No such option"), ("more", "unexpected extra argument")],
    "report": [
        ("", "Missing argument"),
        ("nothing", "holds no finished run"),
        ("empty", "holds no finished run"),
        ("file", "holds no finished run"),
    ],
    "space": [
        ("nope", "there are bert_large, distilbert, gpt2, minilm, mlp, modernbert, smollm, vit"),
        ("--check", "needs the name"),
        ("escaping.toml", "cannot be called"),
    ],
    "size": [
        ("bert_large", "Missing argument"),
        ("nope D=1", "no search space 'nope'"),
        ("bert_large D", "cannot read 'D'"),
        ("bert_large D=4", "exactly D, A, H, I"),
        ("bert_large D=4 A=7 H=1024 I=768", "breaks the rule 'H % A == 0'"),
        ("bert_large D=25 A=8 H=1024 I=768", "D=25 is above the maximum point's 24"),
    ],
    "extract": [
        ("minilm --error guess", "there are distillation and mlm"),
        ("bert_large --plan --objective best", "no objective 'best'"),
        ("bert_large --plan --method magic", "no method 'magic'"),
        ("bert_large --plan --interval 0", "interval 0"),
        ("bert_large --plan --limit operations=1", "no candidate meets the limits"),
        ("minilm --plan --limit latency=5", "predict it with --speed calibrated, after fsp latency calibrate"),
        ("minilm --speed calibrated", "run: fsp latency calibrate minilm"),
        ("minilm --speed nothing.json", "no speed 'nothing.json'; there are operations, calibrated"),
        ("space.toml --plan", "needs vocabulary, positions, token_types"),
        ("minilm --seeds 0", "seeds 0 is out of range"),
        ("minilm --finalists 0", "finalists 0 is out of range"),
        ("minilm --finalists 2 --method certified", "not re-ranked"),
        ("minilm --anchors 2", "anchors 2 is out of range"),
        ("minilm --fidelities 0,16,8", "no rising numbers of steps"),
        ("minilm --fidelities few", "are not numbers of steps"),
        ("minilm --method certified --gap -1", "gap -1.0 is out of range"),
        ("minilm --method certified --interval 2", "interval belongs"),
        ("minilm --certificate x.json", "--method certified"),
        ("minilm --method certified --certificate empty", "file 'empty' is a directory"),
        ("minilm --method certified --certificate file/c.json", "cannot write file/c.json"),
        ("minilm --study file/e.journal", "cannot write file/e.journal"),
        ("minilm --study empty", "cannot write empty; name a file"),
        ("minilm --workers 0", "workers must be at least 1"),
        ("minilm --workers 9999 --threads 1", "9999 workers of 1 threads need 9999 processors"),
        ("minilm --threads 0", "threads must be 1 to 1024"),
    ],
    "distill": [
        (SHAPE, "Missing option '--out'"),
        ("--out o", "name an architecture"),
        ("D=1 A --out o", "cannot read 'A'"),
        (f"{SHAPE} --out o --seed -1", "seed must be at least 0"),
        ("empty --out o", "cannot read 'empty'"),
        (f"{SHAPE} --out full {TINY}", "already exists"),
        (f"{SHAPE} --out file {TINY}", "already exists"),
        (f"{SHAPE} --out o --teacher teacher --corpus two.csv", "several columns of strings (body, url); name the column of text"),
        (f"D=9,A=4,H=32,I=64 --out o {TINY}", "does not fit"),
        (f"{SHAPE} --out o --space bert_large", "names no trained teacher"),
    ],
    "pretrain": [
        (SHAPE, "Missing option '--out'"),
        ("--out o --kl 1", "name an architecture"),
        ("nothing --out o --steps 1", "cannot read 'nothing'"),
        (f"{SHAPE} --out o --preset bart", "no preset 'bart'; there is bort"),
        (f"{SHAPE} --out o --steps 1 --tokens 9 --teacher teacher", "not both"),
        (f"{SHAPE} --out o --kl 1 --schedule steep", "schedule must be linear, cosine or constant"),
    ],
    "finetune": [
        (FINETUNED, "agora needs a labeller: tfidf, probe:DIR or the directory of a trained classifier"),
        (f"{FINETUNED} --method best", "no method 'best'; there are agora, grid, random, hyperband"),
        (f"{FINETUNED} --theta large", "no hyperparameter sets large; name small or bort, or a JSON file"),
        (f"{FINETUNED} --labeller tfidf --dev train.csv", "2 of 2 rows of dev are also in train; remove them"),
        (f"{FINETUNED} --labeller tfidf --train nowhere.csv", "there is no file"),
        (f"{FINETUNED} --labeller tfidf", "dev has 2 rows, too few to set a third aside"),
        (f"{FINETUNED} --labeller tfidf --test test.csv", "model no/such/model: there is no such folder"),
        (FINETUNED.replace("no/such/model --out o", "teacher --method grid --test test.csv --out full"), "full already holds other files (notes.txt)"),
        (f"{FINETUNED} --steps 0 --method grid", "steps must be at least 1"),
    ],
    "export": [
        ("", "Missing argument"),
        ("nothing", "there is no such folder"),
        ("empty", "it is no model directory"),
        ("teacher --format tflite", "no format 'tflite'; there is onnx"),
        ("teacher --tolerance 0.3", "needs int8"),
        ("teacher --int8 --agreement 1.5", "agreement 1.5 is not between 0 and 1"),
        ("teacher --out file", "is a file; name a folder"),
    ],
    "verify": [
        ("", "Missing argument"),
        ("nothing.json", "No such file"),
        ("empty", "Is a directory"),
        ("file", "file is not valid JSON"),
        ("open.json", "is not valid JSON"),
        ("list.json", "this is no certificate of fsp"),
        ("object.json", "this is no certificate of fsp"),
        ("newer.json", "incomplete or malformed"),
        ("bytes.json", "is not valid JSON"),
    ],
    "choose": [
        ("", "Missing argument"),
        ("none.journal --space bert_large", "no study at"),
        ("empty", "holds no evaluations.journal"),
        ("study.journal --space minilm", "no evaluations of space minilm"),
        ("study.journal --space bert_large --limit operations=1", "nearest feasible"),
        ("study.journal --space bert_large --limit operations", "cannot read the limit"),
        ("study.journal --space bert_large --objective best", "no objective"),
        ("study.journal --space bert_large --name x", "called x"),
        ("study.journal --limit latency=5", "fsp extract and fsp choose predict it with --speed calibrated"),
        ("study.journal --limit latency=5 --speed calibrated", "run: fsp latency calibrate bert_large"),
    ],
    "worker": [
        ("minilm", "Missing option '--study'"),
        ("nope --study study.journal", "no search space 'nope'"),
        ("--study empty", "cannot open the study empty"),
    ],
    "latency measure": [
        ("", "Missing argument"),
        ("gpt2", "it has no weights"),
        (f"{MEASURED} --runtime tensorrt", "no runtime 'tensorrt'"),
        (f"{MEASURED} --runtime eager --runtime eager", "runtime eager is named twice"),
        (f"{MEASURED} --rounds 5", "rounds must be at least 6"),
        (f"{MEASURED} --batch 0", "batch must be at least 1"),
        (f"{MEASURED} --length 129", "length 129 is out of range"),
        (f"{MEASURED} --threads 0", "threads must be 1 to 1024"),
    ],
    "latency calibrate": [
        ("nope", "no search space 'nope'"),
        ("counted.toml --out file/c.json", "cannot write"),
        ("counted.toml --out empty", "file 'empty' is a directory"),
        ("counted.toml --share 2", "share 2.0 is out of range"),
        ("counted.toml --held-out 0", "held_out must be at least 3"),
        ("space.toml", "needs vocabulary, positions, token_types"),
    ],
    "replay search": [
        (f"{SEARCHED} --method magic", "no method 'magic'"),
        (f"{SEARCHED} --evaluations 0", "evaluations 0 is out of range"),
        (f"{SEARCHED} --seeds 0", "seeds 0 is out of range"),
        (f"{SEARCHED} --objective both", "no objective 'both'"),
        (f"{SEARCHED} --error loss", "has no column 'loss'"),
        (f"{SEARCHED} --parameters w", "has no column 'w'"),
        (f"{SEARCHED} --max-size 0.1", "no row meets the limits; the least size among those left is 2.25"),
        (SEARCHED.replace("d,h", ","), "no parameters"),
        (SEARCHED.replace("table.csv", "none.csv"), "No such file"),
        (SEARCHED.replace("table.csv", "empty"), "Is a directory"),
    ],
    "replay error": [
        (f"{REPLAYED} --error loss", "has no column 'loss'"),
        (f"{REPLAYED} --size mass", "has no column 'mass'"),
        (f"{REPLAYED} --parameters w", "has no column 'w'"),
        (f"{REPLAYED} --parameters d", "a parameter is named twice"),
        (f"{REPLAYED} --train 50", "train 50 is out of range; choose 12 to 47 of the table's 50 architectures"),
        (f"{REPLAYED} --train 11", "train 11 is out of range"),
        (f"{REPLAYED} --seeds 0", "seeds 0 is out of range"),
        (REPLAYED.replace("table.csv", "none.csv"), "No such file"),
        (REPLAYED.replace("table.csv", "table_short.csv"), "the table has 11 architectures, too few"),
        (REPLAYED.replace("table.csv", "table_0,2,44,1,.5.csv"), "line 52: d is 0; the fitted error needs positive parameters"),
        (REPLAYED.replace("table.csv", "table_11,2,44,1,deep.csv"), "e is 'deep', not a finite number"),
        (REPLAYED.replace("table.csv", "table_11,2,44,1,nan.csv"), "e is 'nan', not a finite number"),
        (REPLAYED.replace("table.csv", "table_11,2,44,1,0.csv"), "e is 0; p, i and e must be positive"),
        (REPLAYED.replace("table.csv", "table_11,2,44,1,-1.csv"), "e is -1; p, i and e must be positive"),
        (REPLAYED.replace("table.csv", "table_many,2,44,1,.5.csv"), "d is 'many', not a finite number"),
    ],
    "replay speed": [
        (f"{SPEEDS} --train 115", "115 training rows of"),
        (f"{SPEEDS} --train 9", "at least 10 are needed to fit to"),
        (f"{SPEEDS} --seeds 0", "seeds 0 is out of range"),
        (SPEEDS.replace("depth,width,inner", "fixed"), "fixed are the same in every row"),
        (SPEEDS.replace("width", "hidden"), "has no column 'hidden'"),
        (SPEEDS.replace("width", "depth"), "'depth' is named twice"),
        (SPEEDS.replace("width", "decoder"), "'decoder' is named twice"),
        (SPEEDS.replace("speeds.csv", "speeds_3,4,5,6,7,-4.csv"), "line 122: decoder is -4; latencies must be positive"),
        (SPEEDS.replace("speeds.csv", "speeds_3,4,5,6,0,7.csv"), "line 122: encoder is 0; latencies must be positive"),
        (SPEEDS.replace("speeds.csv", "speeds_-1,4,5,6,7,8.csv"), "line 122: depth is -1; parameters must not be negative"),
        (SPEEDS.replace("speeds.csv", "speeds_deep,4,5,6,7,8.csv"), "line 122: depth is 'deep', not a finite number"),
        (SPEEDS.replace("speeds.csv", "none.csv"), "No such file"),
    ],
    "error card": [
        ("minilm --out o --seed -1", "seed must be at least 0"),
        ("space.toml", "Missing option '--out'"),
        ("space.toml --out o --shapes 4", "--shapes"),
        ("space.toml --out o --steps 0", "--steps"),
        ("space.toml --out o --truth-seeds 0", "--truth-seeds"),
        ("space.toml --out o --truth nothing.csv", "cannot read the truth nothing.csv"),
        (f"space.toml --out o {TINY} --limit operations=1%", "no candidate meets the limits"),
        (f"space.toml --out full {TINY} --limit operations=100%", "full already holds other files (notes.txt)"),
        ("space.toml --out file", "file is a file; name a folder for the results"),
    ],
}  # fmt: skip


def commands(group=None, words=()):
    """Every command of fsp by the words that call it."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join([*words, name]), command


def numbers(command):
    """The options of a command that take a number."""
    hints = get_type_hints(command.callback)
    kinds = {option.opts[0]: hints.get(option.name) for option in command.params}
    return [option for option, kind in kinds.items() if {int, float} & {kind, *get_args(kind)}]


COMMANDS = dict(commands())
NUMBERS = [(words, option) for words, command in COMMANDS.items() for option in numbers(command)]


def error(shape):
    return (shape["D"] * shape["H"] * shape["I"]) ** -0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny):
    """What the rows name: a teacher, texts, spaces, tables, a study, files and folders that are something else."""
    here = tmp_path_factory.mktemp("usage")
    (here / "teacher").symlink_to(tiny.teacher)
    (here / "text").symlink_to(tiny.corpus)
    for name in ("empty", "full", "gpt2"):
        (here / name).mkdir()
    files = {"file": "", "full/notes.txt": "mine"}
    files["gpt2/config.json"] = '{"model_type": "gpt2", "architectures": ["GPT2Model"]}'
    files["two.csv"] = "body,url\n" + "a text,an address\n" * 9
    certificates = {"open": "{", "list": "[]", "object": "{}", "newer": '{"kind": "fsp.certificate", "schema": 2}'}
    files |= {f"{name}.json": content for name, content in {**certificates, "bytes": "\xff"}.items()}

    space = tiny.space_file.read_text()
    constants = "[constants]\nvocabulary = 30522\npositions = 128\ntoken_types = 2\n"
    teacher = '[teacher]\nname = "x"\npackage = "not_installed"\nfolder = "model"\nsha256 = "0"\n'
    teacher += 'install = "pip install --no-deps not-installed==1"\n'
    files |= {"space.toml": space, "counted.toml": space + constants, "uninstalled.toml": space + constants + teacher}
    files["escaping.toml"] = 'name = "../up"\n' + space

    rows = "text,label\na fine film,good\na dull film,bad\n"
    files |= {"train.csv": rows, "dev.csv": rows.replace("film", "play"), "test.csv": rows.replace("film", "song")}
    shapes = [(d, h) for d in range(1, 11) for h in (1.5, 2.5, 4, 8, 16)]
    generator = np.random.default_rng(0)
    nets = generator.permutation([(d, w, i) for d in range(1, 13) for w in range(4, 33) for i in range(4, 65)])[:120]
    tables = {
        "table": ["d,h,p,i,e", *(f"{d},{h},{d * h**2},{d * h},{2 * d**-0.5 * h**-0.2}" for d, h in shapes)],
        "speeds": ["depth,width,inner,fixed,encoder,decoder", *(f"{d},{w},{i},6,{2 + w * i},{d * w}" for d, w, i in nets)],
    }  # fmt: skip
    files["table_short.csv"] = "\n".join(tables["table"][:12])
    for name, lines in tables.items():
        files[f"{name}.csv"] = "\n".join(lines)
        written = " ".join(row for rows in REFUSED.values() for row, _ in rows)
        for cells in re.findall(rf"\b{name}_(\S*,\S*)\.csv", written):  # a table with one bad row below the others
            files[f"{name}_{cells}.csv"] = "\n".join([*lines, cells])
    for name, content in files.items():
        (here / name).write_text(content, encoding="latin-1")
    extract(load_space("bert_large"), error=error, interval=50, objective="w", study=here / "study.journal")
    return here


@pytest.fixture
def refused(monkeypatch, in_process, folder):
    """Run a command in this process; return the line that it is refused with."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards

    def call(*words):
        before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
        code, out, err = in_process(*words)
        lines = [line for line in err.splitlines() if not re.search(r"\d% \d:\d\d:\d\d left", line)]  # but progress
        assert (code, out, len(lines)) == (2, "", 1), err
        assert lines[0].startswith("fsp: ")
        assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before
        return lines[0]

    threads = torch.get_num_threads()
    yield call
    torch.set_num_threads(threads)


ROWS = [(f"{command} {words}".strip(), says) for command, rows in REFUSED.items() for words, says in rows]


def test_every_command_has_its_rows():
    assert set(REFUSED) == set(COMMANDS)


@pytest.mark.parametrize(("line", "says"), ROWS, ids=[line for line, _ in ROWS])
def test_bad_input(line, says, refused):
    assert says in refused(*shlex.split(line))


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_options_that_are_no_numbers(command, option, refused):
    assert f"Invalid value for '{option}'" in refused(*command.split(), option, "many")


@pytest.mark.parametrize("command", ["", "latency", "replay", "error"])
def test_commands_that_do_not_exist(command, refused):
    assert "No such command 'no-such-command'" in refused(*command.split(), "no-such-command")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_as_a_user_meets_it(command, tmp_path):
    done = fsp(*command.split(), "--no-such-option", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fsp: No such option: --no-such-option (see fsp --help)\n"
    assert not list(tmp_path.iterdir())
