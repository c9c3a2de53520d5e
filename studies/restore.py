"""The trained classifier of a finished trial: from its checkpoint, or trained again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peftnas.search.errors import UsageError
from peftnas.studies.errors import WorkFailedError

if TYPE_CHECKING:
    from peftnas.search.backbone import Backbone
    from peftnas.search.results import StudyResults, TrialRow
    from peftnas.search.study import Study
    from peftnas.search.trial.bench import Bench
    from peftnas.studies.answer import Answerer


@dataclass(frozen=True)
class TrainedTrial:
    """A finished trial and where its tensors lie.

    Attributes:
        row: the trial as it was recorded.
        bench: its backbone and data.
        folder: its artifact; see ``search/trial/artifact.py``.
        note: what has to be said of a trial that was trained again; "" otherwise.
    """

    row: TrialRow
    bench: Bench
    folder: Path
    note: str

    @contextmanager
    def answerer(self) -> Iterator[Answerer]:
        """The trained classifier on the bench's backbone, for the time inside."""
        from peftnas.search.trial.artifact import load_artifact
        from peftnas.studies.answer import Answerer

        bench, backbone = self.bench, self.bench.backbone
        classifier = load_artifact(self.folder, bench.model(self.row.recipe["dtype"]))
        room = bench.longest - classifier.attached.prompt_length
        max_length = min(int(self.row.recipe["max_length"]), room)
        try:
            tokenizer = backbone.tokenizer() if backbone.reads_words else None
            yield Answerer(classifier, backbone, tokenizer, max_length, bench.data.label_names)
        finally:
            classifier.detach()


def finished_trial(results: StudyResults, number: int) -> TrialRow:
    """The row of a finished trial.

    Raises:
        UsageError: if there is no such trial, or it is not finished.
    """
    row = results.trial(number)
    if row.state != "complete":
        why = f" ({row.reason})" if row.reason else ""
        raise UsageError(f"trial {number} must be finished, but it is {row.state}{why}; see front")
    return row


def check_same_study(results: StudyResults, study: Study, backbone: Backbone) -> None:
    """Refuse a FILE that no longer says what the stored study explored.

    Raises:
        UsageError: naming what differs.
    """
    import json

    from peftnas.search.storage import differences

    now = json.loads(json.dumps(study.to_dict(backbone)))
    stored = {name: results.content.get(name) for name in now}
    if changes := differences(stored, now):
        raise UsageError(
            f"study {study.name!r} was run with other content: {'; '.join(changes)}; "
            "give the same --set, --backbone and --seed as to run, or put the file back"
        )


@contextmanager
def trained_trial(
    results: StudyResults, number: int, bench: Bench, out: Path
) -> Iterator[TrainedTrial]:
    """The trained tensors of a finished trial, for the time inside.

    A trial whose checkpoint is gone is trained again from its own seed, on one CPU thread as the
    workers do: same curve, same weights on the same kind of machine.

    Args:
        results: of its study.
        number: of the trial.
        bench: backbone and data of the study.
        out: folder of the study.
    Raises:
        UsageError: if there is no such finished trial.
        WorkFailedError: if training again fails.
    """
    from peftnas.search.plans import trial_key
    from peftnas.search.retention import checkpoint_folder
    from peftnas.search.trial.artifact import finished_result

    row = finished_trial(results, number)
    key = trial_key(row.train_key, row.recipe, row.arms)
    kept = checkpoint_folder(out, number)
    if finished_result(kept, key) is not None:
        yield TrainedTrial(row, bench, kept, "")
        return
    with tempfile.TemporaryDirectory(prefix="peftnas-") as place:
        folder = Path(place) / str(number)
        _check_same_data(results, bench)
        note = _train_again(row, key, bench, folder)
        yield TrainedTrial(row, bench, folder, note)


def _check_same_data(results: StudyResults, bench: Bench) -> None:
    from peftnas.search.preflight import data_identity

    stored, now = results.content.get("data"), data_identity(bench.data)
    if stored != now:
        raise UsageError(
            "the checkpoint is gone and the data is not that of the study any more, so the trial "
            f"cannot be trained again: {stored} then, {now} now; put the data back"
        )


def _train_again(row: TrialRow, key: str, bench: Bench, folder: Path) -> str:
    """Train a trial from its seed into ``folder``; what to say of it."""
    import torch

    from peftnas.search.errors import CannotSaveError
    from peftnas.search.jobs import TrialJob
    from peftnas.search.trial.fine_tune import run_trial

    assert row.architecture is not None and row.seed is not None, "finished trials have both"
    job = TrialJob(row.number, row.architecture, row.recipe, row.seed, key, str(folder))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = run_trial(bench, job)
    except CannotSaveError as error:
        raise WorkFailedError(
            f"trial {row.number} was trained again, but {error}; make room for it"
        ) from error
    finally:
        torch.set_num_threads(threads)
    if result.status != "complete":
        raise WorkFailedError(
            f"trial {row.number} was to be trained again, but failed: {result.error}"
        )
    same = result.curve == row.curve
    outcome = (
        "with the same learning curve"
        if same
        else "with another learning curve than recorded (another machine or version rounds "
        f"differently): {result.metrics}, recorded {row.metrics}"
    )
    return (
        f"no checkpoint of trial {row.number} is there (points on the front keep theirs), so it "
        f"was trained again from its seed {row.seed}, {outcome}"
    )
