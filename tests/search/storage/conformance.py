"""What every storage of studies must do; a database joins with one class of two lines."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from peftnas.search.errors import UsageError
from peftnas.search.storage import (
    LeaseLostError,
    Patience,
    PatientStorage,
    holder,
    only_writer,
    open_storage,
    open_study,
    open_to_write,
    quiet_optuna,
    study_names,
    together,
    writer_of,
)
from peftnas.studies.benchmarks.bulk import add_trials
from tests.search.storage.lost_answers import answers_lost
from tests.search.storage.places import Place
from tests.search.storage.scenes import (
    ELSEWHERE,
    LARGE,
    comparable,
    fill,
    finished,
    in_background,
    in_own_process,
    pretend,
    tell,
)
from tests.search.storage.writing_process import CONTENT, DIRECTIONS, begin

SOON = Patience(limit_s=60.0, unshown_s=0.05)


class StorageConformance:
    """Every test has an empty database of its own."""

    kind: type[Place]

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Place]:
        yield from self.kind.fresh(tmp_path)

    # studies

    def test_a_study_is_made_and_opened_again(self, place: Place) -> None:
        for _ in range(2):
            storage = open_to_write(place.url)
            study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
            assert study.metric_names == ["accuracy", "trainable_parameters"]
            storage.engine.dispose()
        assert study_names(open_storage(place.url)) == ["a"]

    def test_many_open_an_empty_database_at_once(self, place: Place) -> None:
        at_once = threading.Barrier(6)

        def open_it(_: int) -> PatientStorage:
            at_once.wait()
            return open_to_write(place.url, SOON)

        with ThreadPoolExecutor(6) as pool:
            opened = list(pool.map(open_it, range(6)))
        for number, storage in enumerate(opened):
            open_study(storage, f"s{number}", directions=DIRECTIONS, content=CONTENT)
        assert study_names(open_storage(place.url)) == [f"s{number}" for number in range(6)]

    def test_other_content_is_refused_with_what_differs(self, place: Place) -> None:
        storage = open_to_write(place.url)
        open_study(storage, "a", directions=DIRECTIONS, content=CONTENT | {"seed": 0})
        with pytest.raises(UsageError, match="seed: stored 0, now 1"):
            open_study(storage, "a", directions=DIRECTIONS, content=CONTENT | {"seed": 1})

    # trials

    def test_trials_are_read_as_optuna_reads_them(self, place: Place) -> None:
        study = open_study(open_to_write(place.url), "a", directions=DIRECTIONS, content=CONTENT)
        fill(study)
        plain = RDBStorage(place.url)
        kept = optuna.load_study(study_name="a", storage=plain).trials
        plain.engine.dispose()
        found = optuna.load_study(study_name="a", storage=open_storage(place.url)).trials
        assert [comparable(trial) for trial in found] == [comparable(trial) for trial in kept]
        assert found[0].user_attrs["words"] == "größe → 模型 \U0001f600"
        assert math.isnan(found[0].user_attrs["nan"]["loss"])
        assert found[0].user_attrs["large"] == LARGE
        assert found[0].constraints == {"feasible": 0.0, "bytes": 2.5}
        assert found[1].values == [-math.inf, math.inf]

    def test_a_study_that_grows_is_read_on(self, place: Place) -> None:
        study = open_study(open_to_write(place.url), "a", directions=DIRECTIONS, content=CONTENT)
        reader = optuna.load_study(study_name="a", storage=open_storage(place.url))
        running = study.ask()
        assert [trial.state for trial in reader.trials] == [TrialState.RUNNING]
        study.tell(study.ask(), [1.0, 1.0])
        running.set_user_attr("late", 1)
        study.tell(running, [2.0, 2.0])
        study.ask()
        assert [trial.values for trial in reader.trials] == [[2.0, 2.0], [1.0, 1.0], None]
        assert reader.trials[0].user_attrs["late"] == 1
        running_only = reader.get_trials(states=(TrialState.RUNNING,))
        assert [trial.number for trial in running_only] == [2]
        beside_the_cache = open_storage(place.url).get_all_trials(
            study._study_id, states=(TrialState.RUNNING, TrialState.FAIL)
        )
        assert [trial.number for trial in beside_the_cache] == [2]

    def test_a_thousand_trials(self, place: Place) -> None:
        storage = open_to_write(place.url)
        study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
        values = [[number / 1000, -float(number)] for number in range(1000)]
        add_trials(storage, "a", [finished(*pair) for pair in values])
        tell(study, 1000)
        found = optuna.load_study(study_name="a", storage=open_storage(place.url))
        read = found.get_trials(deepcopy=False)
        assert [trial.number for trial in read] == list(range(1001))
        assert [trial.values for trial in read[:-1]] == values
        assert all(trial.user_attrs["result"] == {"score": trial.values[0]} for trial in read[:-1])

    def test_a_reader_beside_a_writer_sees_whole_trials(
        self, place: Place, tmp_path: Path
    ) -> None:
        seen = set()
        with begin("write", place.url, tmp_path / "out", "a", 25) as writer:
            reader = open_storage(place.url)
            while writer.poll() is None:
                for trial in optuna.load_study(study_name="a", storage=reader).trials:
                    if trial.state == TrialState.COMPLETE:
                        assert trial.user_attrs["result"]["number"] == trial.number
                        assert trial.constraints == {"feasible": 0.0} and len(trial.params) == 1
                        seen.add(trial.number)
        assert writer.returncode == 0 and seen

    def test_what_is_written_together_is_written_as_one_by_one(self, place: Place) -> None:
        storage = open_to_write(place.url, SOON)
        study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
        tell(study, 0)
        with answers_lost(storage), together(study):
            fill(study)
            late = study.ask()
            late.suggest_float("rate", 1e-4, 1e-2, log=True)
            late.set_user_attr("words", "later")
            late.set_user_attr("words", "last")
            late.set_constraint("feasible", 1.0)
            with pytest.warns(UserWarning, match="already set"):
                late.set_constraint("feasible", 0.0)
            with pytest.raises(ValueError, match="dynamic value space"):
                study.ask().suggest_categorical("gate", ("other",))
        calm = optuna.create_study(directions=DIRECTIONS)
        tell(calm, 0)
        fill(calm)
        found = optuna.load_study(study_name="a", storage=open_storage(place.url)).trials
        assert [comparable(t) for t in found[:-2]] == [comparable(t) for t in calm.trials]
        assert found[-2].params == late.params and found[-2].constraints == {"feasible": 1.0}
        assert found[-2].user_attrs == {"words": "last"}

    def test_of_what_is_written_together_all_or_nothing_is_there(self, place: Place) -> None:
        storage = open_to_write(place.url)
        study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
        tell(study, 0)
        trial = study.ask()
        with pytest.raises(RuntimeError, match="the sampler broke"), together(study):
            trial.suggest_float("rate", 1e-4, 1e-2, log=True)
            trial.set_user_attr("ready", True)
            raise RuntimeError("the sampler broke")
        found = optuna.load_study(study_name="a", storage=open_storage(place.url)).trials
        assert found[1].params == {} and found[1].user_attrs == {}
        study.tell(trial, state=TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError), together(study):
            trial.set_user_attr("late", True)

    # a storage that is away

    def test_lost_answers_change_nothing(self, place: Place) -> None:
        storage = open_to_write(place.url, SOON)
        with answers_lost(storage) as lost:
            study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
            fill(study)
            study.enqueue_trial({"rate": 0.005})
            asked = study.ask()
            assert asked.suggest_float("rate", 1e-4, 1e-2, log=True) == 0.005
            study.tell(asked, [0.5, 0.5])
            with quiet_optuna():
                gone = optuna.create_study(study_name="b", storage=storage)
                optuna.delete_study(study_name="b", storage=storage)
        assert gone is not None and len(lost) > 20
        with pytest.raises(ValueError, match="Cannot tell a COMPLETE trial"):
            study.tell(asked.number, [0.5, 0.5])
        calm = optuna.create_study(directions=DIRECTIONS)
        fill(calm)
        found = optuna.load_study(study_name="a", storage=open_storage(place.url)).trials
        assert [comparable(t) for t in found[:-1]] == [comparable(t) for t in calm.trials]
        assert found[-1].params == {"rate": 0.005} and found[-1].values == [0.5, 0.5]
        assert study_names(storage) == ["a"]

    def test_writing_goes_on_after_an_outage(self, place: Place, tmp_path: Path) -> None:
        self._write_through_an_outage(place, tmp_path, 1.5)

    @pytest.mark.slow
    def test_writing_goes_on_after_twenty_seconds(self, place: Place, tmp_path: Path) -> None:
        self._write_through_an_outage(place, tmp_path, 20.0)

    def _write_through_an_outage(self, place: Place, tmp_path: Path, seconds: float) -> None:
        waits: list[str] = []
        storage = open_to_write(place.url, Patience(60.0, waits.append, 0.05))
        with only_writer(storage, tmp_path / "out", "a", heartbeat_s=0.2):
            study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
            for number in range(30):
                if number == 10:
                    began = time.monotonic()
                    with in_background(place.away(seconds)):
                        tell(study, number)
                    assert time.monotonic() - began >= seconds
                    continue
                tell(study, number)
        assert waits[0].startswith("the storage does not answer") and waits[-1] == ""
        found = optuna.load_study(study_name="a", storage=open_storage(place.url)).trials
        assert [trial.values for trial in found] == [[float(n), 1.0] for n in range(30)]
        assert {trial.state for trial in found} == {TrialState.COMPLETE}
        assert writer_of(open_storage(place.url), "a") is None

    # the lease

    def test_the_second_of_two_drivers_is_refused(self, place: Place, tmp_path: Path) -> None:
        with begin("hold", place.url, tmp_path / "one", "a") as first:
            try:
                named = rf"is being run by process {first.pid} on .* since 20\d\d-"
                with pytest.raises(UsageError, match=named):
                    with only_writer(open_to_write(place.url), tmp_path / "two", "a"):
                        pass
                with only_writer(open_to_write(place.url), tmp_path / "two", "another"):
                    pass
                seen = writer_of(open_storage(place.url), "a")
                assert seen is not None and seen.holder.pid == first.pid
            finally:
                os.kill(first.pid, signal.SIGKILL)
        assert writer_of(open_storage(place.url), "a") is None
        with only_writer(open_to_write(place.url), tmp_path / "one", "a"):
            pass

    def test_of_many_that_come_at_once_one_gets_the_study(
        self, place: Place, tmp_path: Path
    ) -> None:
        several = [
            in_own_process("hold", place.url, tmp_path / str(number), "a") for number in range(3)
        ]
        try:
            ends = time.monotonic() + 60
            while sum(process.poll() is not None for process in several) < 2:
                assert time.monotonic() < ends, "more than one holds the study"
                time.sleep(0.05)
            assert sum(process.poll() is None for process in several) == 1
        finally:
            for process in several:
                process.kill()
                process.wait()

    def test_a_process_of_a_recycled_number_is_not_the_holder(
        self, place: Place, tmp_path: Path
    ) -> None:
        me = holder.this_process()
        other = holder.Holder(me.host, me.machine, os.getppid(), 12.0, me.since)
        pretend(place, other)
        with only_writer(open_to_write(place.url), tmp_path, "a"):
            pass

    def test_a_silent_holder_elsewhere_is_waited_for(self, place: Place, tmp_path: Path) -> None:
        began = time.monotonic()
        pretend(place, ELSEWHERE)
        waits: list[str] = []
        storage = open_to_write(place.url, Patience(waits=waits.append))
        with only_writer(storage, tmp_path, "a", heartbeat_s=0.1, expiry_s=2.0):
            assert time.monotonic() - began >= 2.0  # never earlier, however slow the machine
        assert "process 7 on far since" in waits[0] and "after 2 s of silence" in waits[0]
        assert waits[-1] == ""

    def test_a_holder_elsewhere_that_was_silent_for_long_gets_time_to_be_heard(
        self, place: Place, tmp_path: Path
    ) -> None:
        pretend(place, ELSEWHERE, silent_s=1000.0)
        storage, began = open_to_write(place.url), time.monotonic()
        with only_writer(storage, tmp_path, "a", heartbeat_s=1.0, expiry_s=2.0):
            assert time.monotonic() - began >= 2.0

    def test_a_holder_elsewhere_that_is_heard_has_the_study(
        self, place: Place, tmp_path: Path
    ) -> None:
        lease = pretend(place, ELSEWHERE)
        far = open_to_write(place.url)
        storage = open_to_write(place.url, Patience(waits=lambda words: lease.renew(far.engine)))
        with pytest.raises(UsageError, match="is being run by process 7 on far"):
            with only_writer(storage, tmp_path, "a", heartbeat_s=0.2, expiry_s=1.0):
                pass

    def test_a_driver_that_was_taken_over_stops_writing(
        self, place: Place, tmp_path: Path
    ) -> None:
        storage = open_to_write(place.url)
        with only_writer(storage, tmp_path, "a", heartbeat_s=60.0):
            study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
            trial = study.ask()
            pretend(place, ELSEWHERE)
            for write in (
                study.ask,
                lambda: trial.set_user_attr("words", "late"),
                lambda: trial.suggest_int("rank", 1, 8),
                lambda: study.tell(trial, [1.0, 1.0]),
            ):
                with pytest.raises(LeaseLostError, match="taken over by process 7 on far"):
                    write()
            assert len(study.trials) == 1  # reading goes on
        found = optuna.load_study(study_name="a", storage=open_storage(place.url)).trials
        assert [trial.state for trial in found] == [TrialState.RUNNING]
        assert found[0].user_attrs == {} and found[0].params == {}
        seen = writer_of(open_storage(place.url), "a")
        assert seen is not None and seen.holder == ELSEWHERE
