import pytest

from fsp.base.errors import InputError
from fsp.trust.replay.table import read_table

COLUMNS = {"parameters": ["depth", "width"], "size": "p", "speed": "i", "error": "e"}
GOOD = "depth,width,p,i,e,note\n1,2.5,10,5,.5,a\n2,2.5,20,9,.3,b\n"


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_reads_real_valued_parameters_and_ignores_other_columns(csv):
    table = read_table(csv(GOOD), **COLUMNS)
    assert table.names == ("depth", "width")
    assert table.parameters.tolist() == [[1, 2.5], [2, 2.5]]
    assert (table.size.tolist(), table.speed.tolist(), table.error.tolist()) == ([10, 20], [5, 9], [0.5, 0.3])
    assert table.lines.tolist() == [2, 3]


def test_a_column_may_serve_twice(csv):
    table = read_table(csv(GOOD), parameters=["depth"], size="p", speed="p", error="e")
    assert table.size.tolist() == table.speed.tolist()
    without = read_table(csv(GOOD), parameters=["depth"], size="p", error="e")
    assert without.speed.tolist() == table.speed.tolist()


def test_neutral_parameters_need_not_be_named_twice(csv):
    both = read_table(csv(GOOD), **COLUMNS, neutral=["width"])
    once = read_table(csv(GOOD), **{**COLUMNS, "parameters": ["depth"]}, neutral=["width"])
    assert both.names == once.names == ("depth", "width")
    assert both.neutral.tolist() == once.neutral.tolist() == [False, True]


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "null", "None"])
def test_rows_with_a_missing_value_are_left_out_and_counted(csv, cell):
    table = read_table(csv(GOOD + f"3,3,30,12,{cell},c\n4,{cell},30,12,.2,c\n5,3,30,12,.1,\n"), **COLUMNS)
    assert (len(table), table.rows_read, table.rows_missing) == (3, 5, 2)


def test_repeated_measurements_are_averaged_and_counted(csv):
    table = read_table(csv(GOOD + "1,2.5,10,7,.7,c\n1,2.50,10,6,.9,d\n"), **COLUMNS)
    assert (len(table), table.rows_merged) == (2, 2)
    assert table.error.tolist() == pytest.approx([0.7, 0.3])
    assert table.speed.tolist() == pytest.approx([6, 9])
    assert table.lines.tolist() == [2, 3]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(csv):
    assert len(read_table(csv("\ufeff" + GOOD + "\n\n"), **COLUMNS)) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "3,3,30,12,nan,c\n", "line 4: e is 'nan', not a finite number"),
        (GOOD + "3,3,30,12,inf,c\n", "line 4: e is 'inf', not a finite number"),
        (GOOD + "3,3,30,12,good,c\n", "line 4: e is 'good', not a finite number"),
        (GOOD + "3,3,30,12,0,c\n", "line 4: e is 0; p, i and e must be positive"),
        (GOOD + "3,3,-30,12,.1,c\n", "line 4: p is -30; p, i and e must be positive"),
        (GOOD + "3,3,30\n", "line 4: 3 cells where the header has 6"),
        ("depth,width,p,i\n1,2,3,4\n", "has no column 'e'; its columns are depth, width, p, i"),
        ("depth,width,p,i,e,e\n1,2,3,4,5,6\n", "more than one column 'e'"),
        ("depth,width,p,i,e\n", "has no row with a number in each of depth, width, p, i, e"),
        ("depth,width,p,i,e\n1,2,3,4,\n", "has no row with a number"),
        ("", "has no column 'depth'"),
    ],
)
def test_bad_tables_are_refused_with_one_line(csv, text, message):
    with pytest.raises(InputError) as refusal:
        read_table(csv(text), **COLUMNS)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_table(tmp_path / "none.csv", **COLUMNS)
    with pytest.raises(InputError, match="Is a directory"):
        read_table(tmp_path, **COLUMNS)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no CSV file in UTF-8"):
        read_table(tmp_path / "binary.csv", **COLUMNS)


def test_parameters_are_needed_once_each(csv):
    with pytest.raises(InputError, match="no parameters"):
        read_table(csv(GOOD), **{**COLUMNS, "parameters": []})
    with pytest.raises(InputError, match="named twice"):
        read_table(csv(GOOD), **{**COLUMNS, "parameters": ["depth", "depth"]})
