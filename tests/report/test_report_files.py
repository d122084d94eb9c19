import re

import pytest

from paretoprune.comparison.results import read_summary, write_results
from paretoprune.errors import BrokenFileError
from paretoprune.report import write_report
from paretoprune.report.ranking import ranking_markdown

ALL = ["summary", "without_heldout", "hostile", "three_objectives", "empty"]


def table(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    head, rule, *rows = split
    assert all(len(row) == len(head) == len(rule) for row in rows)
    return {name: [row[i] for row in rows] for i, name in enumerate(head)}


def test_the_markdown_table_shows_the_figures_of_the_summary(summary):
    found = table(ranking_markdown(summary))
    rows = summary.standings
    assert found["strategy"] == [row.label for row in rows]
    assert found["hypervolume"] == [f"{row.hypervolume:.3f}" for row in rows]
    assert [a[:5] for a in found["held-out front area [95 %]"]] == [
        f"{row.heldout_area:.3f}" for row in rows
    ]
    assert found["vs best"] == ["", "≈", ""]


def test_without_heldout_data_the_table_has_no_column_for_them(without_heldout):
    assert "held-out front area [95 %]" not in table(ranking_markdown(without_heldout))


def test_markdown_takes_names_literally(hostile, summary):
    text = ranking_markdown(hostile)
    assert "<" not in text
    rows = [summary.standings[0].model_copy(update={"label": "a|b`c`*d*[e](f)\n|g"})]
    found = table(ranking_markdown(summary.model_copy(update={"standings": rows})))
    assert found["strategy"] == [r"a\|b\`c\`\*d\*\[e\](f) \|g"]


@pytest.mark.parametrize("name", ALL)
def test_the_report_is_three_files_and_no_leftovers(name, request, tmp_path):
    write_report(tmp_path / "new", request.getfixturevalue(name))
    names = {file.name for file in (tmp_path / "new").iterdir()}
    assert names == {"report.html", "front.png", "ranking.md"}


def test_a_stored_summary_gives_the_same_report(summary, tmp_path):
    write_results(tmp_path / "a", summary)
    write_report(tmp_path / "a", read_summary(tmp_path / "a"))
    write_report(tmp_path / "b", summary)
    for name in ("report.html", "ranking.md", "front.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(summary, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokenFileError, match=r"cannot write .*file"):
        write_report(tmp_path / "file", summary)
