"""Our studies in Optuna's own hands: names, values, attributes, the front."""

from __future__ import annotations

import optuna
import pytest

from peftnas.search.jobs import TrialResult
from peftnas.search.records import Records
from peftnas.search.results import open_results
from peftnas.search.storage import only_writer, open_study, open_to_write, sqlite_url
from tests.search.storage.writing_process import CONTENT, DIRECTIONS
from tests.search.toys import BACKBONE, Exploration, conditional_space, objectives, train


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twenty trials, some failed, some refused, written by the classes of the driver."""
    folder = tmp_path_factory.mktemp("plain")
    storage = open_to_write(sqlite_url(folder))
    with only_writer(storage, folder, "toy"):
        study = open_study(storage, "toy", directions=DIRECTIONS, content=CONTENT)
        records = Records(study, objectives(), BACKBONE)
        exploration = Exploration(records, conditional_space(max_parameters=40))
        for number in range(20):
            work = exploration.next()
            assert work is not None
            result = train(work.job())
            if number % 7 == 3:
                result = TrialResult("failed", cause="diverged", error="it diverged")
            exploration.end(work, result)
        exploration.next()
    return sqlite_url(folder)


def test_plain_optuna_reads_the_same_front(url: str) -> None:
    study = optuna.load_study(study_name="toy", storage=url)
    best = {trial.number: tuple(trial.values) for trial in study.best_trials}
    front = {row.number: tuple(row.values.values()) for row in open_results(url, "toy").front()}
    assert best == front and len(front) > 2


def test_names_values_and_attributes_are_there(url: str) -> None:
    study = optuna.load_study(study_name="toy", storage=url)
    assert study.metric_names == ["accuracy", "trainable_parameters"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for row, trial in zip(open_results(url, "toy").trials, study.trials, strict=True):
        assert row.params == trial.params and row.words == trial.user_attrs.get("words", "")
        if row.state == "complete":
            assert list(row.values.values()) == trial.values
            assert trial.constraints == {"feasible": 0.0}
            assert trial.user_attrs["result"]["metrics"] == row.metrics
        elif row.state == "failed":
            assert trial.constraints == {"feasible": 1.0}


def test_optuna_draws_the_front_under_the_names_of_the_objectives(url: str) -> None:
    study = optuna.load_study(study_name="toy", storage=url)
    figure = optuna.visualization.plot_pareto_front(study)
    assert figure.layout.xaxis.title.text == "accuracy"
    assert figure.layout.yaxis.title.text == "trainable_parameters"
