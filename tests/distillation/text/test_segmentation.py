"""Sentences and passages in the scripts that people write, and in text that has no sentences at all."""

import random
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp.distillation.text.corpus import Corpus
from fsp.distillation.text.segmentation import LONGEST, cut, passages, sentences

WRITTEN = {
    "Hindi": ["सभी मनुष्यों को गौरव और अधिकारों के विषय में जन्मजात स्वतन्त्रता प्राप्त है।", "उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है।"],
    "Urdu": ["تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔", "انہیں ضمیر اور عقل ودیعت ہوئی ہے۔"],
    "Arabic": ["هل يولد جميع الناس أحراراً؟", "نعم، يولدون متساوين في الكرامة والحقوق.", "وقد وهبوا عقلاً وضميراً!"],
    "Japanese": ["すべての人間は、生れながらにして自由であり、尊厳と権利とについて平等である。", "人間は、理性と良心とを授けられている。"],
    "Chinese": ["人人生而自由，在尊严和权利上一律平等。", "他们赋有理性和良心吗？", "应以兄弟关系的精神相对待！"],
    "Armenian": ["Բոլոր մարդիկ ծնվում են ազատ ու հավասար։", "Նրանք ունեն բանականություն ու խիղճ։"],
    "Amharic": ["የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርም እኩልነት ያለው ነው።", "የተፈጥሮ ማስተዋልና ሕሊና አለው።"],
    "Russian": ["Все люди рождаются свободными и равными.", "Разве они не наделены разумом?"],
    "English": ["All human beings are born free, e.g. in dignity.", "Is version 3.11 of os.path new?", "Yes!"],
}  # fmt: skip
THAI = "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม"


@pytest.mark.parametrize("language", WRITTEN)
@pytest.mark.parametrize("between", ["", " ", "\n"])
def test_sentences_end_where_their_script_ends_them(language, between):
    if not between and language in ("Russian", "English"):
        between = "  "
    expected = [one for one in WRITTEN[language] if one != "Yes!"]  # a single word
    assert sentences([between.join(WRITTEN[language])]) == expected


def test_thai_is_cut_at_spaces_and_nothing_is_lost():
    text = " ".join(f"{THAI}ข้อ {number}" for number in range(50))
    found = sentences([text], longest=200)
    assert " ".join(found) == text
    assert max(map(len, found)) <= 200 < 2 * min(map(len, found))
    assert sentences([THAI]) == [THAI]


@pytest.mark.parametrize("per", [1, 2])
def test_lines_that_are_no_wrapped_text_are_sentences(per):
    queries = ["cheap flights", "Wetter Berlin morgen", "ราคา ทอง วันนี้", "天气预报", "मौसम कल", "how tall is the eiffel tower",
               "best laptop for students under 500 dollars with a good keyboard and long battery life 2024"]  # fmt: skip
    assert sentences([("\n" * per).join(queries)]) == queries


def test_wrapped_text_is_joined_again():
    words = [
        "The",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "the",
        "lazy",
        "dog",
        "and",
        "Runs",
        "away",
        "from",
        "Every",
    ]
    generator, lines = random.Random(0), [""]
    whole = " ".join(generator.choices(words, k=25)).capitalize() + " end."
    for word in " ".join([whole, "Another sentence follows it here."]).split():
        if len(lines[-1]) + len(word) > 70:
            lines.append("")
        lines[-1] += f"{word} "
    assert sentences(["\n".join(lines)]) == [whole, "Another sentence follows it here."]


@pytest.mark.parametrize(
    "junk",
    [
        "x = foo(bar[1], baz={'a': 2})",
        "+-------+------+",
        "1 2 3 4 5 6 7",
        "https",
        "",
        "{'id': 3, 'x': [1, 2]}",
        "| a | b | c |",
    ],
)
def test_code_and_tables_are_no_sentences(junk):
    assert sentences([junk]) == []


def test_every_script_has_test_sentences():
    """A corpus of 100 kB in letters of one script alone: a run asks for 50 sentences in its test part."""
    generator = random.Random(0)
    scripts = {
        "Devanagari": (range(0x915, 0x939), "\u093e\u093f\u0940\u0947\u0902", " ", "। "),
        "Thai": (range(0xE01, 0xE2E), "\u0e31\u0e34\u0e48\u0e49", "", " "),
        "Urdu": (range(0x627, 0x64A), "", " ", "۔ "),
        "Hiragana": (range(0x3042, 0x3094), "", "", "。"),
        "Han": (range(0x4E00, 0x55D0), "", "", "。\n"),
        "queries": (range(0x430, 0x450), "", " ", "\n"),
    }
    for script, (letters, marks, blank, stop) in scripts.items():
        words = [
            "".join(chr(generator.choice(letters)) + generator.choice([*marks, ""]) for _ in range(4))
            for _ in range(4000)
        ]
        lines = [blank.join(generator.choices(words, k=4 if script == "queries" else 12)) + stop for _ in range(3000)]
        assert len(Corpus.of(["".join(lines)]).test_sentences) >= 50, script


text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"], include_characters="\n\t"), max_size=3000
)


@given(text, st.integers(1, 60))
@settings(max_examples=60)
def test_cutting_loses_no_visible_character_and_parts_no_mark(line, longest):
    found = list(cut(line, longest))
    assert "".join("".join(found).split()) == "".join(line.split())
    assert max(map(len, found)) <= longest
    for before, after in pairwise(found):
        if len(before) > 1 and after:
            assert (
                unicodedata.category(after[0])[0] != "M"
                or unicodedata.category(before[-1])[0] == "M"
                or line[len(before)].isspace()
            )


@given(text)
@settings(max_examples=60)
def test_passages_lose_no_visible_character(text):
    assert "".join("".join(passages(text)).split()) == "".join(text.split())


@given(text)
@settings(max_examples=60)
def test_sentences_are_text_of_the_text(text):
    joined = " ".join(text.split())
    for sentence in sentences([text]):
        assert sentence in joined and 2 <= len(sentence) <= 300


def test_long_lines_are_cut():
    assert max(map(len, passages("x" * 100_000))) <= LONGEST
    lines = [f"Line {i} of a paragraph without a blank line." for i in range(500)]
    assert "\n".join(passages("\n".join(lines))) == "\n".join(lines)
