"""Benchmarks on small files in their real schemas: prompts, parts, and figures scored by hand."""

import csv
import json

import datasets
import numpy as np
import pytest

from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.registry import tasks
from paretoprune.tasks.answers import contains_answer
from paretoprune.tasks.load import load_task
from paretoprune.tasks.scoring import Generation, Likelihood
from paretoprune.tasks.splits import SPLITS, choose, split_of

from .files import every, in_base64, outcomes_of, picture, stored, write_parquet, write_tsv

BENCHMARKS = [e.name for e in tasks if ".benchmarks." in e.target]


def mme_rows():
    rows = []
    for number in range(12):
        for answer, thing in (("Yes", "cat"), ("No", "dog")):
            rows.append(
                {
                    "question_id": f"{number}.png",
                    "image": stored(number),
                    "question": f"Is there a {thing}? Please answer yes or no.",
                    "answer": answer,
                    "category": "existence" if number < 8 else "code_reasoning",
                }
            )
    return rows


def mmbench_rows(count=12):
    return [
        {
            "index": number, "question": f"What is {number}?",
            "hint": "nan" if number % 2 else "Look.", "answer": "ABC"[number % 3],
            "A": "cat", "B": "dog", "C": "fish", "D": "nan",
            "category": "object", "image": stored(number), "source": "x", "L2-category": "y",
            "comment": "nan", "split": "dev",
        }
        for number in range(count)
    ]  # fmt: skip


def seed_rows():
    return [
        {
            "answer": "ABCD"[n % 4], "choice_a": "one", "choice_b": "two", "choice_c": "three",
            "choice_d": "four", "data_id": f"pic{n // 2}",
            "data_type": "video" if n >= 12 else "image", "question": f"How many in {n}?",
            "question_id": str(n), "question_type_id": 5, "segment": None,
            "image": [stored(n)] * (3 if n >= 12 else 1),
        }
        for n in range(16)
    ]  # fmt: skip


def ocr_rows():
    return [
        {
            "dataset": "HME100k" if n % 3 == 0 else "IIIT5K",
            "question": f"what is written in {n}?",
            "question_type": "Handwritten Mathematical Expression Recognition"
            if n % 3 == 0
            else "Regular Text Recognition",
            "answer": ["x ^ 2 + Y"] if n % 3 == 0 else ["STOP", "Halt"], "image": stored(n),
        }
        for n in range(12)
    ]  # fmt: skip


def chart_rows():
    return [
        {
            "type": "human_test" if n % 2 else "augmented_test", "question": f"How much in {n}?",
            "answer": "12%" if n % 2 else "200", "image": stored(n),
        }
        for n in range(12)
    ]  # fmt: skip


def aokvqa_rows():
    return [
        {
            "image": stored(n), "question_id": f"q{n}", "question": f"What is used in {n}?",
            "choices": ["umbrella", "hat", "car", "tree"], "correct_choice_idx": n % 4,
            "direct_answers": "['umbrella', 'umbrella', 'parasol', \"lady's umbrella\"]",
            "difficult_direct_answer": n == 11, "rationales": ["because"],
        }
        for n in range(12)
    ]  # fmt: skip


def textvqa_rows():
    return [
        {
            "image_id": f"im{n // 2}", "question_id": n, "question": f"what does sign {n} say?",
            "image": stored(n), "answers": ["Stop"] * 4 + ["go"] * 2 + ["halt"] + ["the sign"] * 3,
            "ocr_tokens": ["STOP", "12"],
        }
        for n in range(12)
    ]  # fmt: skip


def vizwiz_rows():
    return [
        {
            "question_id": f"VizWiz_val_{n:08d}.jpg", "image": stored(n),
            "question": f"what is {n}?",
            "answers": ["unanswerable"] * 8 + ["red"] * 2 if n % 2 else ["red"] * 10,
            "category": "unanswerable" if n % 2 else "other",
        }
        for n in range(12)
    ]  # fmt: skip


def pope_rows():
    return [
        {
            "id": str(n), "question_id": str(n % 6), "question": f"Is there a dog in {n}?",
            "answer": "yes" if n % 2 else "no", "image_source": f"COCO_{n // 3}",
            "image": stored(n), "category": ("adversarial", "popular", "random")[n % 3],
        }
        for n in range(12)
    ]  # fmt: skip


ROWS = {
    "mme": mme_rows, "mmbench": mmbench_rows, "seedbench": seed_rows, "ocrbench": ocr_rows,
    "chartqa": chart_rows, "aokvqa": aokvqa_rows, "textvqa": textvqa_rows, "vizwiz": vizwiz_rows,
    "pope": pope_rows,
}  # fmt: skip


def made(name, folder, rows=None, options=""):
    data = write_parquet(
        folder / "test.parquet", ROWS[name]() if rows is None else rows, several=name == "seedbench"
    )
    return load_task(f"{name}{options}", data)


def by_id(samples, found):
    return next(sample for sample in samples if sample.id == found)


def test_every_benchmark_is_tested():
    assert set(ROWS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_group_and_no_sample_is_in_both_parts(name, tmp_path):
    """Whatever the seeds, sizes and order of rows: contamination is impossible."""
    task = made(name, tmp_path)
    parts = {split: set() for split in SPLITS}
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    other = made(name, shuffled, ROWS[name]()[::-1])
    for one in (task, other):
        for seed in (0, 1):
            for sample in every(one, seed=seed):
                parts[split_of(sample.together)].add(sample.together)
        for split in SPLITS:
            there = one.available(split)
            size = min(there, 3 * one.per_row)  # POPE has three questions per picture here
            small = one(split, size, seed=3)
            assert 0 < len(small) <= size
            assert {split_of(s.together) for s in small} == {split}
    assert not parts["search"] & parts["heldout"]
    assert all(parts.values())
    assert {s.id for s in every(task)} == {s.id for s in every(task, seed=1)}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_samples_are_the_same_in_every_call(name, tmp_path):
    task = made(name, tmp_path)
    there = task.available("search")
    one, two = (task("search", there, seed=7) for _ in range(2))
    assert [(s.id, s.prompt, s.answer) for s in one] == [(s.id, s.prompt, s.answer) for s in two]
    assert all(s.prompt and s.answer for s in one)


def test_mme_counts_pairs_and_sums_percentages(tmp_path):
    task = made("mme", tmp_path)
    samples = every(task)
    assert len(samples) == 24
    first = by_id(samples, "mme-1")
    question = "Is there a cat?\nAnswer the question using a single word or phrase."
    assert (first.prompt, first.answer) == (question, "Yes")
    assert first.scoring == Likelihood(("Yes", "No"))
    # existence: 8 pairs, all right; code reasoning: 4 pairs, one answer wrong in each of two
    wrong = {"mme-17", "mme-20"}
    outcomes = np.array([s.id not in wrong for s in samples], dtype=np.float32)
    found = task.metrics(samples, outcomes)
    assert found["accuracy_plus"] == pytest.approx(10 / 12)
    assert found["mme_perception"] == pytest.approx(200)
    assert found["mme_cognition"] == pytest.approx(100 * (6 / 8 + 2 / 4))
    assert found["mme_score"] == pytest.approx(200 + 125)


def test_mme_keeps_its_own_instruction_where_there_is_no_other(tmp_path):
    task = made("mme", tmp_path, options=":instruction=none,scoring=generation")
    sample = by_id(every(task), "mme-2")
    assert sample.prompt == "Is there a dog? Please answer yes or no."
    assert [sample.scoring.judge(t) for t in ("No.", "yes", "I see no dog", "?")] == [1, 0, 1, 0]


def test_mmbench_rotates_options_and_counts_what_is_right_in_every_order(tmp_path):
    task = made("mmbench", tmp_path)
    samples = every(task)
    assert len(samples) == 12 * 3
    turns = [by_id(samples, name) for name in ("mmbench-4", "mmbench-4-1", "mmbench-4-2")]
    assert turns[0].prompt == (
        "Look.\nWhat is 4?\nA. cat\nB. dog\nC. fish\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert "A. dog\nB. fish\nC. cat\n" in turns[1].prompt
    assert [t.answer for t in turns] == ["B", "A", "C"]  # the dog, wherever it stands
    assert len({t.together for t in turns}) == 1
    assert by_id(samples, "mmbench-5").prompt.startswith("What is 5?\n")  # its hint is "nan"
    wrong = {"mmbench-4-1", "mmbench-7", "mmbench-8", "mmbench-8-2"}
    outcomes = np.array([s.id not in wrong for s in samples], dtype=np.float32)
    assert task.metrics(samples, outcomes) == {
        "vanilla_accuracy": pytest.approx(10 / 12),
        "circular_accuracy": pytest.approx(9 / 12),
    }
    plain = made("mmbench", tmp_path, options=":circular=false")
    assert len(every(plain)) == 12
    assert set(plain.metrics(samples[:3], outcomes[:3])) == {"vanilla_accuracy"}


def test_mmbench_takes_the_rotations_of_the_published_files(tmp_path):
    rows = [
        {**row, "index": row["index"] + turn * 1_000_000}
        for row in mmbench_rows()
        for turn in range(3)
    ]
    task = made("mmbench", tmp_path, rows)
    samples = every(task)
    assert (len(samples), task.per_row) == (36, 1)
    outcomes = np.array([s.id != "mmbench-2000003" for s in samples], dtype=np.float32)
    found = task.metrics(samples, outcomes)
    assert found["circular_accuracy"] == pytest.approx(11 / 12)


def test_seedbench_takes_pictures_or_frames(tmp_path):
    samples = every(made("seedbench", tmp_path))
    assert len(samples) == 12
    sample = by_id(samples, "seedbench-1")
    assert sample.prompt == (
        "How many in 1?\nA. one\nB. two\nC. three\nD. four\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert (sample.answer, sample.image.size) == ("B", (12, 10))
    whole = made("seedbench", tmp_path, options=":media=all")
    samples = every(whole)
    assert len(by_id(samples, "seedbench-13").image) == 3
    outcomes = np.array([s.family == "image" for s in samples], dtype=np.float32)
    assert whole.metrics(samples, outcomes) == {"accuracy_image": 1, "accuracy_video": 0}
    assert len(every(made("seedbench", tmp_path, options=":media=video"))) == 4
    with pytest.raises(UnknownNameError, match="unknown media of task 'seedbench' 'vidoe'.*video"):
        made("seedbench", tmp_path, options=":media=vidoe")


def test_ocrbench_looks_for_the_answer_in_what_is_said(tmp_path):
    task = made("ocrbench", tmp_path)
    samples = every(task)
    word, formula = by_id(samples, "ocrbench-2"), by_id(samples, "ocrbench-1")
    assert word.prompt == "what is written in 1?"
    assert [word.scoring.judge(t) for t in ("It says: stop!", "halting", "st op")] == [1, 1, 0]
    assert [formula.scoring.judge(t) for t in ("x^2+Y", "x^2 + y")] == [1, 0]
    outcomes = np.array([s.family != "Regular Text Recognition" for s in samples], dtype=np.float32)
    assert task.metrics(samples, outcomes) == {"ocrbench_score": pytest.approx(1000 / 3)}


def test_chartqa_is_relaxed_and_told_apart_by_who_asked(tmp_path):
    task = made("chartqa", tmp_path)
    samples = every(task)
    said = ["0.12" if s.family == "human" else "215" for s in samples]
    found = task.metrics(samples, outcomes_of(samples, said))
    assert found == {"relaxed_human": 1, "relaxed_augmented": 0}
    assert samples[0].prompt.endswith("\nAnswer the question using a single word or phrase.")


def test_aokvqa_asks_for_a_letter_or_for_a_word(tmp_path):
    sample = by_id(every(made("aokvqa", tmp_path)), "aokvqa-q2")
    assert sample.answer == "C"
    assert "\nC. car\n" in sample.prompt
    free = every(made("aokvqa", tmp_path, options=":answers=direct"))
    assert len(free) == 11  # one is only asked as a choice
    sample = by_id(free, "aokvqa-q2")
    assert (sample.answer, sample.prompt.split("\n")[0]) == ("umbrella", "What is used in 2?")
    judge = sample.scoring.judge
    assert [judge("umbrella"), judge("lady's umbrella")] == pytest.approx([2 / 3, 1 / 3])


def test_textvqa_is_soft_and_may_show_ocr_tokens(tmp_path):
    sample = by_id(every(made("textvqa", tmp_path)), "textvqa-3")
    assert sample.prompt.startswith("What does sign 3 say?\nAnswer")
    judge = sample.scoring.judge
    assert [judge(t) for t in ("STOP.", "go", "halt", "sign", "no")] == pytest.approx(
        [1, 0.6, 0.3, 0.9, 0]
    )
    shown = by_id(every(made("textvqa", tmp_path, options=":ocr=true")), "textvqa-3")
    assert "say?\nReference OCR token: STOP, 12\nAnswer" in shown.prompt


def test_vizwiz_knows_unanswerable_questions(tmp_path):
    task = made("vizwiz", tmp_path)
    samples = every(task)
    assert "respond with 'Unanswerable'.\nAnswer" in samples[0].prompt
    outcomes = outcomes_of(samples, ["Unanswerable"] * len(samples))
    assert task.metrics(samples, outcomes) == {
        "accuracy_answerable": 0,
        "accuracy_unanswerable": 1,
    }


def test_pope_gives_precision_recall_and_f1(tmp_path):
    task = made("pope", tmp_path, options=":scoring=generation")
    samples = every(task)
    truth = [s.answer == "Yes" for s in samples]
    said = ["Yes" if yes else "No" for yes in truth]
    missed = truth.index(True)
    said[missed] = "There is not any"
    for place in [i for i, yes in enumerate(truth) if not yes][:2]:
        said[place] = "Yes, there is."
    found = task.metrics(samples, outcomes_of(samples, said))
    assert found["precision"] == pytest.approx(5 / 7)
    assert found["recall"] == pytest.approx(5 / 6)
    assert found["f1"] == pytest.approx(2 * 5 / (7 + 6))
    assert found["yes_share"] == pytest.approx(7 / 12)
    nothing = task.metrics(samples, np.array([not yes for yes in truth], dtype=np.float32))
    assert (nothing["f1"], nothing["precision"], nothing["yes_share"]) == (0, 0, 0)


def test_pictures_are_those_of_the_file(tmp_path):
    sample = by_id(every(made("chartqa", tmp_path)), "chartqa-5")
    assert np.array_equal(np.asarray(sample.image), np.asarray(picture(4)))


def test_vlmevalkits_files_are_read(tmp_path):
    """Base64 pictures, a row that names the row with its picture, lists written out, letters."""
    rows = [
        {
            "index": n, "image": in_base64(n - n % 2) if n % 2 == 0 else str(n - 1),
            "question": f"Is there a {'dog' if n % 2 else 'cat'}? Please answer yes or no.",
            "answer": "No" if n % 2 else "Yes", "category": "count", "image_path": f"{n // 2}.jpg",
        }
        for n in range(16)
    ]  # fmt: skip
    samples = every(load_task("mme", write_tsv(tmp_path / "MME.tsv", rows)))
    assert len(samples) == 16
    assert np.array_equal(np.asarray(by_id(samples, "mme-6").image), np.asarray(picture(4)))
    assert len({s.together for s in samples}) == 8
    rows = [
        {"index": n, "image": in_base64(n), "question": "what?", "answer": "['Stop', 'go']"}
        for n in range(8)
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    write_tsv(folder / "TextVQA_VAL.tsv", rows)
    samples = every(load_task("textvqa", str(folder)))  # the only TSV file of a folder
    assert samples[0].scoring.judge("stop") == pytest.approx((0 + 1 / 3) / 2)
    rows = [
        {
            "index": n, "image": in_base64(n), "question": "what?", "A": "x", "B": "y", "C": "z",
            "D": "", "answer": "C", "category": "Scene",
        }
        for n in range(8)
    ]  # fmt: skip
    samples = every(load_task("seedbench", write_tsv(tmp_path / "SEED.tsv", rows)))
    assert samples[0].scoring == Likelihood(("A", "B", "C"))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("mme", {"answer": "maybe"}, "row 3: column 'answer' is 'maybe'; allowed: Yes, No"),
        ("mme", {"answer": ""}, "row 3: column 'answer' is ''; allowed: a text"),
        ("mmbench", {"answer": "E"}, "row 3: column 'answer' is 'E'; allowed: A, B, C"),
        ("mmbench", {"B": "nan"}, "row 3: column 'B' is None; allowed: an option"),
        ("mmbench", {"index": -1}, "row 3: column 'index' is -1; allowed: a whole number from 0"),
        ("aokvqa", {"correct_choice_idx": 4}, "is 4; allowed: a whole number from 0 to 3"),
        ("textvqa", {"answers": []}, r"row 3: column 'answers' is \[\]; allowed: a list of one"),
        ("seedbench", {"image": []}, r"row 3: column 'image' is \[\]; allowed: a picture"),
        ("pope", {"image": {"bytes": b"nothing", "path": None}}, "column 'image' is no pict"),
        ("chartqa", {"question": None}, "row 3: column 'question' is None; allowed: a text"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_one_sentence(name, change, said, tmp_path):
    rows = ROWS[name]()
    rows[2] = {**rows[2], **change}
    with pytest.raises(BrokenFileError, match=said):
        every(made(name, tmp_path, rows))


def test_data_that_do_not_fit_are_one_sentence(tmp_path):
    with pytest.raises(InvalidValueError, match="'mme' needs --data: a file.*lmms-lab/MME"):
        load_task("mme")
    with pytest.raises(BrokenFileError, match="has no column 'category'; it has .*question"):
        made("mme", tmp_path, chart_rows())
    with pytest.raises(BrokenFileError, match="'/nowhere/x' is no file or folder, and no name"):
        load_task("mme", "/nowhere/x")
    with pytest.raises(InvalidValueError, match="search part of mme in .* has .* samples, but 500"):
        made("mme", tmp_path)("search", 500)
    with pytest.raises(UnknownNameError, match="unknown option of task 'mme' 'scorin'.*'scoring'"):
        made("mme", tmp_path, options=":scorin=x")
    with pytest.raises(UnknownNameError, match="unknown scoring of task 'mme' 'guess'"):
        made("mme", tmp_path, options=":scoring=guess")
    with pytest.raises(UnknownNameError, match="unknown scoring of task 'chartqa' 'likelihood'"):
        made("chartqa", tmp_path, options=":scoring=likelihood")
    with pytest.raises(InvalidValueError, match="'minivqa' makes its own samples"):
        load_task("minivqa", "x.tsv")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(InvalidValueError, match=r"suffix '.txt'; allowed: .parquet"):
        load_task("mme", str(tmp_path / "x.txt"))
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(BrokenFileError, match="cannot read data"):
        load_task("mme", str(tmp_path / "x.parquet"))
    (tmp_path / "x.tsv").write_text("index\timage\n")
    with pytest.raises(BrokenFileError, match="has no rows"):
        load_task("mme", str(tmp_path / "x.tsv"))


def test_a_folder_with_several_splits_reads_the_usual_one(tmp_path):
    rows = textvqa_rows()
    write_parquet(tmp_path / "train-0.parquet", rows[:2])
    write_parquet(tmp_path / "validation-0.parquet", rows)
    assert len(every(load_task("textvqa", str(tmp_path)))) == 12
    assert len(every(load_task("textvqa:split=train", str(tmp_path)))) == 2
    with pytest.raises(UnknownNameError, match="unknown split of .* 'tset'"):
        load_task("textvqa:split=tset", str(tmp_path))


def test_the_half_of_a_group_is_fixed():
    """These are what published numbers of this package refer to: they must never change."""
    assert "".join(split_of(name)[0] for name in "abcdefgh") == "shhshsss"
    names = [str(i) for i in range(2000)]
    share = np.mean([split_of(name) == "search" for name in names])
    assert abs(share - 0.5) < 3 * 0.5 / 2000**0.5
    chosen = choose(names, "search", 50, data="x")
    assert chosen == choose(names, "search", 50, data="x")
    assert chosen != choose(names, "search", 50, seed=1, data="x")
    assert set(choose(names, "search", 20, data="x")) <= set(chosen)
    with pytest.raises(UnknownNameError, match="unknown split 'test'"):
        choose(names, "test", 5, data="x")


def test_generation_is_asked_for_where_there_is_nothing_to_choose():
    for name in ("ocrbench", "chartqa", "textvqa", "vizwiz"):
        assert tasks.load(name).ways == ("generation",)
    assert Generation(len).new_tokens == 16


ANSWERED = {
    # task, column of the answers, further columns
    "chartqa": ("answer", {}),
    "ocrbench": ("answer", {"category": "Regular Text Recognition", "index": "1"}),
    "textvqa": ("answers", {"question_id": "1", "image_id": "x"}),
    "vizwiz": ("answers", {"question_id": "1"}),
    "aokvqa": ("direct_answers", {"question_id": "1"}),
}


def answered(folder, name, written, kind):
    """The only sample of a file in which the answer is written so, as JSON."""
    column, further = ANSWERED[name]
    picture().save(folder / "0.png")
    row = {"image": "0.png", "question": "what?", **further, column: written}
    file = folder / f"rows.{kind}"
    if kind == "jsonl":
        file.write_text(json.dumps(row))
    elif kind == "parquet":
        datasets.Dataset.from_list([row]).to_parquet(file)
    else:
        cell = written if isinstance(written, str) else json.dumps(written)
        with file.open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t" if kind == "tsv" else ",")
            writer.writerows([list(row), [*list(row.values())[:-1], cell]])
    task = load_task(f"{name}:answers=direct" if name == "aokvqa" else name, str(file))
    return every(task)[0]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("name", ANSWERED)
def test_every_answer_of_a_list_is_accepted(tmp_path, name, kind):
    """ChartQA took the first, and of a list that is no text none."""
    sample = answered(tmp_path, name, ["stop", "halt"] * 5, kind)
    judge = sample.scoring.judge
    assert [judge(said) for said in ("stop", "halt", "go", "['stop', 'halt']")][:3] == [1, 1, 0]
    assert sample.answer == "stop"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("written", [[], [["stop"]], [None], [True], [{"said": "stop"}], ["", " "]])
def test_what_is_no_list_of_answers_is_refused(tmp_path, name, kind, written):
    """An empty answer is contained in whatever a model says."""
    if name == "chartqa" and kind == "csv" and not all(isinstance(one, str) for one in written):
        return  # a text with brackets
    with pytest.raises(BrokenFileError, match=rf"rows.{kind}, row 1: column .* is .*; allowed: "):
        answered(tmp_path, name, written, kind)


def test_an_empty_answer_beside_others_is_in_no_text():
    assert contains_answer("whatever", ["", "stop"]) == 0


def test_a_box_in_a_cell_stays_a_text(tmp_path):
    """Of texts alone is a list in a cell one of answers."""
    assert answered(tmp_path, "chartqa", "[2018, 2019]", "csv").answer == "[2018, 2019]"
    assert answered(tmp_path, "chartqa", "12%", "csv").answer == "12%"


def test_a_table_is_refused_where_its_cells_do_not_fit_its_header(tmp_path):
    for text, said in (
        ("question,answer,answer\na,b,c\n", "has the column 'answer' twice"),
        ("question,image\na,b,c\n", "row 1 has 3 cells, the header 2"),
        ('question,image\na,"b\n', "cannot be read as a table"),
        ("question,image\n", "has no rows"),
    ):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(BrokenFileError, match=said):
            load_task("chartqa", str(tmp_path / "x.csv"))


def test_of_several_files_in_a_folder_one_has_to_be_named(tmp_path):
    for name in ("a.jsonl", "b.csv"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InvalidValueError, match=r"holds a.jsonl, b.csv; name one of these files"):
        load_task("chartqa", str(tmp_path))
    with pytest.raises(InvalidValueError, match="has no splits, but split=test was asked for"):
        load_task("chartqa:split=test", str(tmp_path / "a.jsonl"))
