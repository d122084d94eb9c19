"""Trackers log what a comparison found, in the tracker's own store."""

import pytest

from paretoprune.comparison.compare import compare
from paretoprune.comparison.trackers import make_tracker
from paretoprune.compression.analytic import ZDT1
from paretoprune.errors import InvalidValueError, ParetopruneError, UnknownNameError


def followed(tracker):
    with tracker:
        found = compare(ZDT1(), ["random", "tpe"], budget=20, seeds=[0], observe=tracker).summary
        tracker.finish(found)
    return {f"{s.label} seed={s.seed}": s for s in found.studies}


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="needs paretoprune[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    studies = followed(make_tracker(f"tensorboard:{tmp_path}"))
    assert {p.name for p in tmp_path.iterdir()} == {"random_seed=0", "tpe_seed=0"}
    for name, study in studies.items():
        events = EventAccumulator(str(tmp_path / name.replace(" ", "_")))
        events.Reload()
        curve = events.Scalars("hypervolume")
        assert [e.step for e in curve] == [8, 16, 20]
        assert [e.value for e in curve] == pytest.approx([y for _, y in study.curve])
        (last,) = events.Scalars("final_hypervolume")
        assert last.value == pytest.approx(study.hypervolume)


@pytest.mark.slow  # MLflow sets its database up for minutes
def test_mlflow(tmp_path):
    pytest.importorskip("mlflow", reason="needs paretoprune[mlflow]")
    from mlflow import MlflowClient, active_run

    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    studies = followed(make_tracker(f"mlflow:{uri}"))
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("paretoprune")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(studies)
    for name, study in studies.items():
        run = runs[name]
        assert run.info.status == "FINISHED"
        assert run.data.params == {"strategy": study.label, "seed": "0"}
        assert run.data.metrics["final_hypervolume"] == pytest.approx(study.hypervolume)
        curve = client.get_metric_history(run.info.run_id, "hypervolume")
        assert [m.step for m in curve] == [8, 16, 20]
        assert [m.value for m in curve] == pytest.approx([y for _, y in study.curve])
    assert active_run() is None  # no global state


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("wandb:x", UnknownNameError, "unknown tracker 'wandb'; known: mlflow, tensorboard"),
        ("tensorboard", InvalidValueError, "write tensorboard:FOLDER or mlflow:URI"),
    ],
)
def test_mistakes_are_one_sentence(text, error, told):
    with pytest.raises(error, match=told):
        make_tracker(text)


def test_a_folder_that_cannot_be_written(tmp_path):
    pytest.importorskip("tensorboard", reason="needs paretoprune[tensorboard]")
    (tmp_path / "file").write_text("")
    with pytest.raises(ParetopruneError, match="cannot write"):
        make_tracker(f"tensorboard:{tmp_path / 'file' / 'folder'}")
