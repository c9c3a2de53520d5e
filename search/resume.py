"""Resume: what an earlier run of a study had accepted and not told, and what becomes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from peftnas.search.driver import Work
from peftnas.search.jobs import TrialResult
from peftnas.search.records import Records


def left_over(
    records: Records, out: Path, folder: Callable[[Path, int], Path], *, keep: bool = True
) -> list[Work]:
    """The trials to train again, under their own numbers.

    A trial whose worker had written its checkpoint is told from there instead. One that died
    inside ask is refused.

    Args:
        records: of the search's study, or of the baselines'.
        out: folder of the study.
        folder: where a trial's checkpoint lies, given ``out`` and its number.
        keep: whether checkpoints of told trials stay.
    """
    left = []
    for number, plan in records.recover().items():
        work = Work(records, number, plan, folder(out, number))
        result = written(work)
        if result is None:
            left.append(work)
            continue
        records.tell(number, result)
        if not keep:
            shutil.rmtree(work.folder)
    return left


def written(work: Work) -> TrialResult | None:
    """The result that a worker wrote for this work, told or not; ``None`` without one."""
    from peftnas.search.trial.artifact import finished_result

    return finished_result(work.folder, work.plan.key)
