"""The forms of a table: each keeps what it is given from being markup."""

import csv
import io
import re

import pytest

from prunecli.report.tables.kinds import FORMS
from prunecli.report.tables.table import (
    Cell,
    Table,
    as_latex,
    as_markdown,
    as_text,
    sections_as_csv,
)

HOSTILE = r"|_*\$%&#~^{}<script>[x](y)`±†‡≥≤§¶…"
TABLE = Table(
    "Top-1, %", ["method", "4x"],
    [[Cell("lamp"), Cell("90.00 ± 1.00", 90.0, best=True)], [Cell("a_b"), Cell("9*", 9.0)]],
    ["* less"],
)  # fmt: skip


def test_text_is_aligned_under_its_title_and_over_its_notes():
    assert FORMS["table"](TABLE) == (
        "Top-1, %\nmethod            4x\nlamp    90.00 ± 1.00\na_b               9*\n* less\n"
    )
    assert "Top-1" not in as_text(TABLE)


def test_markdown_by_hand():
    assert as_markdown(TABLE) == (
        "**Top-1, %**\n\n| method | 4x |\n| --- | ---: |\n| lamp | **90.00 ± 1.00** |\n"
        "| a\\_b | 9\\* |\n\n\\* less\n"
    )


def test_latex_by_hand():
    assert as_latex(TABLE) == "\n".join([
        r"\begin{table}", r"\centering", r"\caption{Top-1, \%}", r"\begin{tabular}{lr}",
        r"\toprule", r"method & 4x \\", r"\midrule", r"lamp & \textbf{90.00 $\pm$ 1.00} \\",
        r"a\_b & 9{*} \\", r"\bottomrule", r"\end{tabular}",
        r"\par\smallskip\footnotesize {*} less", r"\end{table}", "",
    ])  # fmt: skip


def hostile():
    return Table(HOSTILE, [HOSTILE, "4x"], [[Cell(HOSTILE), Cell(HOSTILE, best=True)]], [HOSTILE])


def test_markdown_keeps_a_cell_a_cell():
    text = as_markdown(hostile())
    [row] = [line for line in text.splitlines() if line.startswith("| \\|") and "**" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3  # two cells
    bare = re.sub(r"\\[\\`*_\[\]<>|#~$&]", "", text.replace(r"\\", ""))
    assert not re.search(r"[`_\[\]<>#~$&\\]", bare)
    assert bare.count("*") == 8  # around the title and the best


def test_latex_keeps_its_braces_and_lines():
    text = as_latex(hostile())
    plain = re.sub(r"\\[{}]", "", text)
    depth = 0
    for letter in plain:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert begun == ended[::-1] == ["table", "tabular"]
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands <= {
        "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "textbf",
        "par", "smallskip", "footnotesize", "textbackslash", "textasciitilde", "textasciicircum",
        "textless", "textgreater", "textbar", "ldots", "pm", "dagger", "ddagger", "geq", "leq", "S",
        "P",
    }  # fmt: skip
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    assert len(re.findall(r"(?<!\\)&", body)) == 1
    assert len(re.findall(r"\\\\", body)) == 1
    assert not re.search(r"(?<!\\)[%#_^~]", text)
    assert re.findall(r"(?<!\\)\$\\[a-z]+\$", text)
    assert re.sub(r"\\\$|\$\\[a-z]+\$", "", text).count("$") == 0


@pytest.mark.parametrize("name", ["[5cm]", "*", "*[1em]x"])
def test_no_name_is_taken_for_what_ends_the_line_before_or_a_rule(name):
    text = as_latex(Table("t", ["method"], [[Cell(name)], [Cell(name)]], []))
    assert not re.search(r"(\\\\|rule)\s*[*\[]", text)


def sections(*tables):
    return [((f"net{number}", "digits"), table) for number, table in enumerate(tables)]


def test_csv_has_numbers_in_full_and_no_formulas():
    table = Table("t", ["method", "4x"], [[Cell("=1+1"), Cell("90.12 ± 1", 90.123456)]], [])
    [row] = csv.DictReader(io.StringIO(sections_as_csv(sections(table))))
    assert row == {"model": "net0", "dataset": "digits", "method": "'=1+1", "4x": "90.123456"}
    evil = sections_as_csv([(("=m", "@d"), table)])
    assert evil.splitlines()[1] == "'=m,'@d,'=1+1,90.123456"


def test_csv_of_several_networks_has_each_number_under_its_own_heading():
    one = Table("t", ["method", "4x", "8x"], [[Cell("a"), Cell("", 4.0), Cell("", 8.0)]], [])
    two = Table("t", ["method", "8x", "16x"], [[Cell("b"), Cell("", 80.0), Cell("", 160.0)]], [])
    rows = list(csv.DictReader(io.StringIO(sections_as_csv(sections(one, two)))))
    assert [(row["4x"], row["8x"], row["16x"]) for row in rows] == [
        ("4.0", "8.0", ""), ("", "80.0", "160.0")
    ]  # fmt: skip


def test_csv_has_what_a_cell_holds_besides_its_number_in_columns_of_their_own():
    one = Table(
        "t", ["method", "4x", "8x"], [[Cell("a"), Cell("", 4.0, std=0.5), Cell("", 8.0)]], []
    )
    two = Table("t", ["method", "8x"], [[Cell("b"), Cell("", 9.0, published=9.5, marks="*")]], [])
    assert sections_as_csv(sections(one, two)).splitlines() == [
        "model,dataset,method,4x,4x std,8x,8x published,8x marks",
        "net0,digits,a,4.0,0.5,8.0,,",
        "net1,digits,b,,,9.0,9.5,*",
    ]


def test_csv_keeps_columns_of_the_same_heading():
    table = Table("t", ["method", "x", "x"], [[Cell("a"), Cell("1"), Cell("2")]], [])
    assert sections_as_csv(sections(table, table)).splitlines() == [
        "model,dataset,method,x,x", "net0,digits,a,1,2", "net1,digits,a,1,2"
    ]  # fmt: skip
