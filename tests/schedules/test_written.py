import pytest

from paretoprune.errors import ParetopruneError
from paretoprune.schedules import ScheduleFile, write_schedule
from paretoprune.schedules.written import parse_schedule


@pytest.mark.parametrize(
    ("text", "ratios"),
    [
        ("1,1,0.5,0.25", (1, 1, 0.5, 0.25)),
        (" 2x1, 2x.5 ", (1, 1, 0.5, 0.5)),
        ("keep=0.5,layer=3", (1, 1, 1, 0.5)),
        ("layer=0,keep=0", (0, 0, 0, 0)),
    ],
)
def test_what_is_written_is_the_schedule(text, ratios):
    written = parse_schedule(text)
    assert written.schedule(4).ratios == ratios
    assert written.content is None


def test_a_file_brings_its_pruner(tmp_path):
    file = tmp_path / "a.json"
    write_schedule(file, ScheduleFile(pruner="dart", keep=[1.0, 0.5]))
    written = parse_schedule(str(file))
    assert written.schedule(2).ratios == (1.0, 0.5)
    assert written.content is not None
    assert written.content.pruner == "dart"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no file, no list"),
        ("best", "is no file, no list"),
        ("none.json", "cannot read schedule file none.json"),
        ("1,two", "'two' is no ratio"),
        ("0x1", "must repeat a ratio 1 to"),
        ("99999999x1", "must repeat a ratio 1 to"),
        ("0.5,1,1,1", "must not rise"),
        ("2,1,1,1", r"must be in \[0, 1\]"),
        ("nan,1", "is no file"),
        ("keep=0.5", "needs layer=..., too"),
        ("keep=0.5,layer=1,keep=1", "gives keep twice"),
        ("keep=0.5,layr=1", "Did you mean 'layer'"),
        ("keep=x,layer=1", "keep is a ratio"),
        ("keep=2,layer=1", r"must be in \[0, 1\]"),
        ("keep=nan,layer=1", r"must be in \[0, 1\]"),
        ("keep=0.5,layer=-1", "0 or more"),
        ("keep=0.5,layer=4", "layer must be in 0..3, the model has 4"),
        ("1,1", "has 2 layers, the model has 4"),
    ],
)
def test_mistakes_are_named(text, words):
    with pytest.raises(ParetopruneError, match=words):
        parse_schedule(text).schedule(4)
