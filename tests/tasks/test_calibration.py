"""Calibration data: what is read, what is refused, areas, and searching without answers."""

import json

import numpy as np
import pytest
from commands import run_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.load import load_problem
from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.areas import areas_of, equalised, unevenness
from paretoprune.tasks.base import Sample
from paretoprune.tasks.load import load_task, nth_sample, samples_there
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.tasks.scoring import TokenShare
from paretoprune.tasks.splits import MIN_HASHED_GROUPS, SPLITS, even_split, split_of

from .files import picture


def conversations(folder, count=12, **changes):
    (folder / "coco").mkdir(exist_ok=True)
    rows = []
    for number in range(count):
        picture(number, (10 + number, 8)).save(folder / "coco" / f"{number}.png")
        for turn in range(2):  # two conversations about each picture
            rows.append(
                {
                    "id": f"{number:012d}",
                    "image": f"coco/{number}.png" if turn else f"./coco/{number}.png",
                    "conversations": [
                        {"from": "human", "value": f"<image>\nWhat is in {number}?"},
                        {"from": "gpt", "value": "A plain colour."},
                        {"from": "human", "value": "Sure?"},
                        {"from": "gpt", "value": "Yes."},
                    ],
                }
            )
    rows.append({"id": "text", "conversations": [{"from": "human", "value": "Hello?"}]})
    rows[0].update(changes)
    file = folder / "data.json"
    file.write_text(json.dumps(rows))
    return str(file)


def test_conversations_give_their_first_question_and_answer(tmp_path):
    task = load_task("llava-instruct", conversations(tmp_path))
    there = {s: task.available(s) for s in SPLITS}
    assert sum(there.values()) == 24
    search, heldout = (task(split, there[split]) for split in SPLITS)
    sample = search[0]
    assert sample.prompt.startswith("What is in ")
    assert (sample.answer, sample.scoring) == ("A plain colour.", TokenShare())
    assert not {s.group for s in search} & {s.group for s in heldout}
    assert nth_sample(task, "search", 0).id == sample.id
    unlabeled = load_task("llava-instruct:answers=dense,new_tokens=5", conversations(tmp_path))
    sample = unlabeled("search", 2)[0]
    assert (sample.answer, sample.new_tokens) == (None, 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "../secret.png"}, r"entry 1: picture '../secret.png' lies outside"),
        ({"image": "/etc/passwd"}, "entry 1: picture '/etc/passwd' lies outside"),
        ({"image": 3}, "entry 1: 'image' is 3; allowed: a file name"),
        ({"conversations": "hello"}, "entry 1: 'conversations' must be a list"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, r"begins with 'human'.*\['gpt'\]"),
        ({"conversations": [{"from": "human", "value": "<image>"}]}, "first question is empty"),
    ],
)
def test_a_wrong_conversation_is_one_sentence(change, said, tmp_path):
    with pytest.raises(BrokenFileError, match=said):
        load_task("llava-instruct", conversations(tmp_path, **change))


def test_folders_of_pictures_in_three_ways(tmp_path):
    for number in range(10):
        picture(number).save(tmp_path / f"{number}.png")
    with pytest.raises(BrokenFileError, match=r"picture '0.png' has no question; put one into 0.t"):
        load_task("pictures", str(tmp_path))
    task = load_task("pictures:question=what is this?", str(tmp_path))
    assert {r.question for r in task.records} == {"what is this?"}
    (tmp_path / "3.txt").write_text("which colour?\n")
    task = load_task("pictures:question=what is this?", str(tmp_path))
    assert sorted(r.question for r in task.records)[-1] == "which colour?"
    assert task("search", 1)[0].answer is None
    (tmp_path / "metadata.csv").write_text(
        "file_name,question,answer\n0.png,is it red?,no\n0.png,which one?,\n1.png,and?,yes\n"
    )
    task = load_task("pictures", str(tmp_path))
    assert [(r.picture, r.answer) for r in task.records] == [
        ("0.png", "no"), ("0.png", None), ("1.png", "yes"),
    ]  # fmt: skip
    (tmp_path / "metadata.csv").write_text("file_name,question\n../x.png,what?\n")
    with pytest.raises(BrokenFileError, match=r"row 1: picture '../x.png' lies outside"):
        load_task("pictures", str(tmp_path))
    (tmp_path / "metadata.csv").write_text("file_name,question\n0.png,\n")
    with pytest.raises(BrokenFileError, match="row 1: column 'question' is ''; allowed: a text"):
        load_task("pictures", str(tmp_path))


def listed(folder, answer, *, name="metadata.jsonl", question='"what?"'):
    """A folder of one picture, whose answer is written so into its list."""
    picture().save(folder / "0.png")
    rows = {
        "metadata.jsonl": f'{{"file_name": "0.png", "question": {question}, "answer": {answer}}}\n',
        "metadata.csv": f"file_name,question,answer\n0.png,what?,{answer}\n",
    }
    (folder / name).write_text(rows[name])
    return load_task("pictures", str(folder)).records[0].answer


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ('["yes"]', "yes"), ('["yes", " yes "]', "yes"), ("[3]", "3"), ('[""]', 0), ("3", "3"),
        ("3.0", "3"), ("0.25", "0.25"), ("null", None), ('""', None), ('" "', None),
        ('"none"', "none"), ('"nan"', "nan"), ('"[\'yes\']"', "['yes']"), ('"[1, 2]"', "[1, 2]"),
        ('["yes", "no"]', 0), ("[]", 0), ('[["yes"]]', 0), ('{"text": "yes"}', 0), ("true", 0),
        ("[null]", 0), ('["yes", null]', 0), ("[true]", 0), ('[{"answer": "yes"}]', "yes"),
        ('[{"text": "yes"}]', 0), ("[1, 2]", 0), ('["yes", 3]', 0),
    ],
)  # fmt: skip
def test_an_answer_in_json_is_read_or_refused(tmp_path, answer, read):
    """A list was taken as the text that Python shows it as: `['yes']`."""
    if read != 0:
        assert listed(tmp_path, answer) == read
        return
    with pytest.raises(
        BrokenFileError, match=r"metadata.jsonl, row 1: column 'answer' is .*; allo"
    ):
        listed(tmp_path, answer)


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        ("yes", "yes"), ("['yes']", "yes"), ('"[""yes""]"', "yes"), ('"[""yes"", ""no""]"', 0),
        ("", None), ("none", "none"), ("3.0", "3.0"), ('"[1, 2]"', "[1, 2]"), ("[Yes]", "[Yes]"),
        ("True", "True"), ("{}", "{}"), ("[" * 5000, "[" * 5000),
    ],
)  # fmt: skip
def test_an_answer_in_a_cell_is_a_text_or_a_list_of_texts(tmp_path, cell, read):
    if read != 0:
        assert listed(tmp_path, cell, name="metadata.csv") == read
        return
    with pytest.raises(BrokenFileError, match=r"metadata.csv, row 1: .*; allowed: one answer: its"):
        listed(tmp_path, cell, name="metadata.csv")


def test_what_cannot_be_shown_is_refused_all_the_same(tmp_path):
    """Nested less deeply than the reader of JSON goes, and deeper than `repr` does from here."""
    nested = "[" * 900 + "]" * 900
    with pytest.raises(BrokenFileError, match=r"row 1: column 'answer' is .{3,80}; allowed|nested"):
        listed(tmp_path, nested)
    with pytest.raises(BrokenFileError, match=r"row 1: column 'question' is .{3,80}; all|nested"):
        listed(tmp_path, '"x"', question=nested)


def test_samples_from_python_have_texts():
    """A list as answer was tokenised as a batch."""
    for wrong in (["yes"], 3, True, b"yes"):
        with pytest.raises(
            InvalidValueError, match="sample 'a': the answer is .*; allowed: a text"
        ):
            Sample("a", None, "what?", wrong, "all")
    with pytest.raises(InvalidValueError, match="the prompt is None"):
        Sample("a", None, None, "yes", "all")


def test_what_does_not_fit_is_one_sentence(tmp_path):
    with pytest.raises(BrokenFileError, match="'nowhere' do not exist"):
        load_task("pictures", "nowhere")
    with pytest.raises(BrokenFileError, match="has no question about a picture"):
        load_task("pictures", str(tmp_path))
    data = conversations(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown areas of task 'llava-instruct' 'unifrom'"):
        load_task("llava-instruct:areas=unifrom", data)
    with pytest.raises(InvalidValueError, match="new_tokens must be 1 or more, got 0"):
        load_task("llava-instruct:new_tokens=0", data)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BrokenFileError, match=r"broken.json is not JSON: "):
        load_task("llava-instruct", str(tmp_path / "broken.json"))


sides = st.tuples(st.integers(50, 2000), st.integers(50, 2000))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(sides, min_size=2, max_size=40))
def test_equalised_areas_are_the_quantiles_of_a_uniform_distribution(sizes):
    found = equalised(sizes)
    areas, before = areas_of(found), areas_of(sizes)
    low, high = before.min(), before.max()
    # rounding a side by half a pixel changes the area by about that share of it
    slack = 0.5 * np.array([w + h for w, h in found]) + 1
    order = np.argsort(before, kind="stable")
    if len(set(before.tolist())) == len(before):
        wanted = low + (np.arange(len(before)) + 0.5) / len(before) * (high - low)
        assert (np.abs(areas[order] - wanted) <= slack[order]).all()
    for (w, h), (new_w, new_h) in zip(sizes, found, strict=True):
        assert abs(new_w / w - new_h / h) * min(w, h) <= 1 + 1e-9  # shapes stay


def test_a_skewed_distribution_becomes_uniform():
    rng = np.random.default_rng(0)
    sizes = [(int(w), int(h)) for w, h in 200 + 40 * rng.standard_exponential((400, 2))]
    assert unevenness(sizes) > 0.3
    assert unevenness(equalised(sizes)) < 0.01
    bounded = areas_of(equalised(sizes, low=10_000, high=90_000))
    assert 9_500 < bounded.min() < bounded.max() < 90_500
    assert equalised([(30, 20)] * 3) == [(30, 20)] * 3
    assert unevenness([(30, 20)] * 3) == 0
    with pytest.raises(
        InvalidValueError, match="between 0 < low <= high pixels, got low=9, high=3"
    ):
        equalised(sizes, low=9, high=3)
    with pytest.raises(InvalidValueError, match="no pictures"):
        equalised([])


def test_samples_show_pictures_of_equalised_areas(tmp_path):
    task = load_task("llava-instruct:areas=uniform", conversations(tmp_path))
    sizes = dict(zip([r.name for r in task.records], task.shown_sizes, strict=True))
    for sample in task("search", 4):
        assert sample.image.size == sizes[sample.id.removeprefix("llava-instruct-")]
    assert unevenness(task.shown_sizes) < unevenness(task.sizes) + 0.05


def test_the_areas_command_draws_before_and_after(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from paretoprune.cli import app

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for number, side in enumerate(20 + 15 * rng.standard_exponential(30)):
        picture(number, (int(side), int(side))).save(tmp_path / f"{number}.png")
    done = CliRunner().invoke(
        app, ["data", str(tmp_path), "--task", "pictures:question=what?", "--areas", "found.png"]
    )
    assert done.exit_code == 0, done.output
    assert "30 pictures: 0." in done.output
    with Image.open(tmp_path / "found.png") as drawn:
        assert drawn.size == (1350, 540)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_areas_command_needs_no_task(tmp_path, monkeypatch, kind):
    """Its own default, none, was read as the name ''."""
    monkeypatch.chdir(tmp_path)
    file = conversations(tmp_path)
    for picture_file in (tmp_path / "coco").glob("*.png"):
        picture_file.with_suffix(".txt").write_text("what?")
    done = run_command("data", str(file if kind == "file" else tmp_path / "coco"))
    assert done.returncode == 0, done.stderr
    assert f"{24 if kind == 'file' else 12} pictures: " in done.stdout


def test_a_search_needs_no_answers(tmp_path):
    """On a trained model: the dense model agrees with itself, the blind one less."""
    for number, sample in enumerate(load_split("heldout", 40)):
        Image.fromarray(sample.image).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(sample.prompt)
    problem = load_problem(
        task="pictures:new_tokens=4", data=str(tmp_path), search_size=12, heldout_size=0
    )
    assert problem.dense_score == 1.0
    assert problem.text_only_score < 0.9
    layers = problem.adapter.spec.layers
    half, few = (
        exact_candidate(KeepSchedule((1.0,) * 2 + (keep,) * (layers - 2))) for keep in (0.5, 0.02)
    )
    one, two = problem.evaluate([half, few])
    assert one.metrics["kl_to_dense"] < two.metrics["kl_to_dense"]
    assert one.metrics["accuracy"] >= two.metrics["accuracy"]
    assert problem.relaxation().samples == 12


def drawn(folder, count, questions=2, *, answer=True):
    """A folder of drawn pictures, each with so many questions, as a newcomer writes it."""
    folder.mkdir(exist_ok=True)
    rows = ["file_name,question,answer"]
    for number, sample in enumerate(load_split("heldout", count)):
        Image.fromarray(sample.image).save(folder / f"{number}.png")
        rows += [f"{number}.png,{sample.prompt},{sample.answer if answer else ''}"] * questions
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return str(folder)


@pytest.mark.parametrize(
    ("count", "questions", "halves"), [(2, 2, [2, 2]), (3, 2, [2, 4]), (5, 2, [4, 6])]
)
def test_a_few_pictures_are_searched_on_as_they_are(tmp_path, count, questions, halves):
    """Five with ten questions were refused by two messages that contradicted each other."""
    data = drawn(tmp_path, count, questions, answer=False)
    problem = load_problem(task="pictures", data=data)
    there = [problem.samples, problem.heldout.samples]
    assert sorted(map(len, there)) == halves
    assert not set.intersection(*({s.group for s in half} for half in there))
    (note,) = [note for note in problem.notes() if "say little" in note]
    least = min(halves)
    assert f"of {least} is up to {0.5 / least**0.5:.2f}" in note
    explicit = load_problem(task="pictures", data=data, search_size=2, heldout_size=2)
    assert len(explicit.samples) == len(explicit.heldout.samples) == 2


@pytest.mark.parametrize(
    ("count", "questions", "said"),
    [
        (1, 1, "part of pictures in .* is empty: of its 1 picture.*; 2 or more are needed"),
        (1, 10, "part of pictures in .* is empty: of its 1 picture.*; 2 or more are needed"),
        (2, 1, r"has 1 sample\(s\); at least 2 are needed in each: add pictures or questions"),
        (3, 1, r"has 1 sample\(s\); at least 2 are needed in each: add pictures or questions"),
    ],
)
def test_too_few_pictures_are_refused_in_one_sentence(tmp_path, count, questions, said):
    data = drawn(tmp_path, count, questions)
    with pytest.raises(InvalidValueError, match=said):
        load_problem(task="pictures", data=data)


def test_what_is_asked_for_beyond_the_data_is_refused_with_what_is_there(tmp_path):
    data = drawn(tmp_path, 5)
    with pytest.raises(InvalidValueError, match="ask for 6 or fewer"):
        load_problem(task="pictures", data=data, search_size=7, heldout_size=4)


def test_scoring_takes_what_a_small_folder_has(tmp_path):
    """The default of 512 samples was refused, and so was what the refusal asked for."""
    task = load_task("pictures", drawn(tmp_path, 5))
    assert (samples_there(task, "search", 512), samples_there(task, "heldout", 512)) == (6, 4)
    assert samples_there(load_split, "heldout", 512) == 512


def test_data_on_which_a_model_needs_no_picture_say_what_to_do(tmp_path):
    drawn(tmp_path, 4)
    text = (tmp_path / "metadata.csv").read_text()
    rows = [f"{line.rpartition(',')[0]},zebra" for line in text.splitlines()[1:]]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,question,answer", *rows]) + "\n")
    with pytest.raises(InvalidValueError, match=r"nothing to trade off; .*\(answers=dense\) ask"):
        load_problem(task="pictures", data=str(tmp_path))


groupings = st.lists(st.integers(0, 120), min_size=1, max_size=300).map(lambda n: list(map(str, n)))


@settings(deadline=None)
@given(groupings, st.randoms(use_true_random=False))
def test_few_groups_are_dealt_evenly_whatever_their_order(groups, randomness):
    parts = even_split(groups)
    sizes = {part: sum(parts[g] == part for g in groups) for part in SPLITS}
    shuffled = list(groups)
    randomness.shuffle(shuffled)
    assert even_split(shuffled) == parts
    if len(parts) >= MIN_HASHED_GROUPS:
        assert parts == {group: split_of(group) for group in parts}
    else:
        # the last group that was dealt went to the smaller part
        assert abs(sizes["search"] - sizes["heldout"]) <= max(map(groups.count, parts))
        assert len(parts) < 2 or all(sizes.values())
