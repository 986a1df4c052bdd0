"""Runs the arms of one pair and writes one run file for each that was started, whatever happened to it.

The arms are trained one after the other, since their times are compared. Scoring and auditing are not timed, so in a
person's own runs both arms go side by side there: a verdict costs less, and the processes stay as fresh and separate.
Where the patch is a stranger's they do not: it could slow the core. The submission goes first there and the core last,
so that the last that ran before the next pair's clock starts is the core's.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.audit import band
from harness.decide.failures import ENDED
from harness.errors import HarnessError, MachineError
from harness.records.atomic import write_atomically
from harness.records.record import AuditResult, Metrics, ModelFacts, Round, RunRecord, RunSpec, Status
from harness.records.store import Store
from harness.run import arms, host, judge, kept, sandbox, stage
from harness.run.alone import alone
from harness.run.measure import Prepared, Scored, measure_of
from harness.run.saved import Saves, largest
from harness.run.stage import Arm, StageError
from harness.submission.patch import PatchedCore
from harness.tracks import Budget, Track

_DIGEST = hashlib.sha256().digest_size


class Reporter(Protocol):
    """Where progress goes: a live bar on a terminal, plain lines elsewhere."""

    def note(self, text: str) -> None:
        """One thing that happened, one line."""

    def opened(self, evaluation: str) -> None:
        """What is told from here on belongs to the evaluation of this id."""

    def stage(self, spec: RunSpec, stage: str) -> None:
        """A stage of a run begins."""

    def tick(self, spec: RunSpec, tokens: int, loss: float | None, seconds: float) -> None:
        """Training goes on."""

    def finished(self, record: RunRecord) -> None:
        """A run has its run file."""


class Order(Protocol):
    """What an evaluation and a calibration have in common: where, what and on which data."""

    @property
    def root(self) -> Path: ...
    @property
    def store(self) -> Store: ...
    @property
    def track(self) -> Track: ...
    @property
    def budget(self) -> Budget: ...
    @property
    def data(self) -> Prepared: ...
    @property
    def micro_batch(self) -> int | None: ...
    @property
    def epochs(self) -> int: ...
    @property
    def official(self) -> bool: ...


@dataclass(frozen=True)
class Bench:
    """What stays the same for every run of one evaluation."""

    store: Store
    evaluation: str  # id
    track: Track
    budget: Budget
    data: Prepared
    secret: str  # the evaluation's salt
    arms: Mapping[str, Arm]  # by the arm's name
    work: Path  # scratch of this evaluation
    kept: Path  # where the last completed run of each arm stays
    before: frozenset[str]  # stems of the runs from before this harness was started
    micro_batch: int | None
    epochs: int
    reporter: Reporter
    core_parameters: int | None = None  # by the core's own word, which is the maintainers'; None without a rehearsal
    official: bool = False  # the patch is a stranger's

    @classmethod
    @contextlib.contextmanager
    def set_up(
        cls, order: Order, evaluation: str, salt: str, cores: Mapping[str, PatchedCore], reporter: Reporter
    ) -> Iterator[Bench]:
        """The bench of an open evaluation: arms built, runs that were cut off recorded, the machine warmed up."""
        work = order.root / ".blueberry" / "work" / evaluation
        with arms.built(work, cores, order.budget.patience_s) as built:
            reporter.opened(evaluation)
            for record in order.store.bury_orphans(evaluation, sandbox.name()):
                reporter.note(f"{record.spec.stem} had been started and was cut off; it runs again")
            warm = built if order.budget.listed else {}  # nobody compares times of the test suite's
            sizes = {name: judge.rehearse(arm, order.track) for name, arm in warm.items()}
            yield cls(
                store=order.store,
                evaluation=evaluation,
                track=order.track,
                budget=order.budget,
                data=order.data,
                secret=salt,
                arms=built,
                work=work,
                kept=kept.cell_folder(order.root, order.track.name, order.budget.name),
                before=frozenset(run.spec.stem for run in order.store.runs(evaluation)),
                core_parameters=sizes.get("core"),
                micro_batch=order.micro_batch,
                epochs=order.epochs,
                reporter=reporter,
                official=order.official,
            )

    def held_out(self, spec: RunSpec) -> Any:
        """What is scored. Decisions are made on validation, confirmations on test."""
        split = "test" if spec.round == "confirm" else "validation"
        return measure_of(self.track).held_out(self.data, self.track, self.budget, split, self.secret)

    def reference_path(self, round_: Round, pair: int) -> Path:
        """The core's scores of a pair, for a submission that has to be run again later."""
        return self.work / "reference" / f"{round_}-{pair:02d}.npy"


@dataclass
class _Run:
    """A started run while it goes through its stages."""

    spec: RunSpec
    started: str
    trained: judge.Trained | None = None
    scored: Scored | None = None
    audits: tuple[AuditResult, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # of its untimed stages
    failure: StageError | None = None

    @contextlib.contextmanager
    def lasting(self, stage: str) -> Iterator[None]:
        """Notes how long the block took."""
        started = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - started, 2)

    @property
    def alive(self) -> bool:
        return self.failure is None


def race(bench: Bench, specs: Sequence[RunSpec]) -> list[RunRecord]:
    """Runs one arm or both arms of a pair, in the order given. A failure of the first spares the second."""
    with alone(bench.reporter.note):
        return _raced(bench, specs)


def _raced(bench: Bench, specs: Sequence[RunSpec]) -> list[RunRecord]:
    runs: list[_Run] = []
    try:
        for spec in specs:
            feed = measure_of(bench.track).feed(bench.data, bench.track, spec.seed, spec.tokens, bench.epochs)
            run = _Run(spec, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
            bench.store.begin(bench.evaluation, spec)
            runs.append(run)
            _train(bench, run, feed)
            if not run.alive:
                break
        _hold_to_band(bench, runs)
        _side_by_side(runs, lambda run, threads: _score(bench, run, threads), apart=bench.official)
        reference = {run.spec.arm + str(run.spec.init_key): run.scored for run in runs if run.scored}
        _side_by_side(runs, lambda run, threads: _audit(bench, run, reference, threads), apart=bench.official)
        return [_finish(bench, run) for run in runs]
    except Exception as error:
        _give_up(bench, runs, error)
        raise
    finally:
        for run in runs:
            if run.trained is not None:
                run.trained.checkpoint.close()


def _give_up(bench: Bench, runs: Sequence[_Run], error: Exception) -> None:
    """Writes a run file for every run that has none. What stops the judge is a defect, and may be a submission's work:
    one that could do so at will would draw its runs again without a trace."""
    what = stage.text(f"the harness stopped: {type(error).__name__}: {error}", 500)
    for run in runs:
        if bench.store.run_path(bench.evaluation, run.spec).exists():
            continue
        if run.alive:  # nothing else of it is certain
            run = _Run(run.spec, run.started, failure=StageError("infrastructure", what))
        with contextlib.suppress(HarnessError, OSError):  # the disk may be what stopped it
            _file(bench, _record(bench, run))


def _train(bench: Bench, run: _Run, feed: judge.Feed) -> None:
    spec = run.spec
    bench.reporter.stage(spec, "train")
    saves = _saves(bench, spec)

    def tick(tokens: int, loss: float | None, seconds: float) -> None:
        bench.reporter.tick(spec, tokens, loss, seconds)

    try:
        seed = host.worker_seed(bench.secret, spec.seed, spec.init_key)
        arm, tokens = bench.arms[spec.arm], spec.tokens
        run.trained = judge.train(arm, bench.track, tokens, seed, feed, bench.micro_batch, tick, saves)
        run.audits += (run.trained.warm_up,)
        _refuse_broken(run)
    except StageError as failure:
        run.failure = failure


def _saves(bench: Bench, spec: RunSpec) -> Saves | None:
    """Where the state of a long run is kept, for all its attempts."""
    every, first = bench.budget.save_every_s, spec.model_copy(update={"attempt": 1})
    return None if every is None else Saves(bench.work / "saved" / first.stem, every, largest(bench.core_parameters))


def _hold_to_band(bench: Bench, runs: Sequence[_Run]) -> None:
    """Compares the size of a submission with that of the core in its pair, or in an earlier one."""
    models = {run.spec.arm: run.trained.model for run in runs if run.trained}
    core, embedding = models.get("core") or _known_core(bench), bench.track.embedding_parameters
    for run in runs:
        if run.alive and run.spec.arm != "core":
            if core is not None:
                run.audits += band.size(models[run.spec.arm], core, embedding)
            elif bench.core_parameters is not None:
                run.audits += (band.total(models[run.spec.arm], bench.core_parameters, embedding),)
            try:
                _refuse_broken(run)
            except StageError as failure:
                run.failure = failure


def _known_core(bench: Bench) -> ModelFacts | None:
    """The core's model in a completed run of this evaluation."""
    runs = bench.store.runs(bench.evaluation)
    known = (run.model for run in runs if run.spec.arm == "core" and run.status == "completed" and run.model)
    return next(known, None)


def _side_by_side(runs: Sequence[_Run], work: Callable[[_Run, int], None], apart: bool = False) -> None:
    """One stage for all runs that are still alive, at the same time, the processors shared between them.

    `apart`, and on an accelerator always (an arm could take the memory that the other one needs), one after the other,
    the core last.
    """
    alive = sorted((run for run in runs if run.alive), key=lambda run: run.spec.arm == "core")
    together = 1 if apart or host.describe().accelerator != "cpu" else max(1, len(alive))
    threads = max(1, host.threads() // together)
    defects: list[Exception] = []

    def guarded(run: _Run) -> None:
        try:
            work(run, threads)
        except StageError as failure:
            run.failure = failure
        except Exception as defect:
            defects.append(defect)  # raised when the other arm is done as well

    pool = ThreadPoolExecutor(max_workers=together)
    try:
        list(pool.map(guarded, alive))
    finally:
        pool.shutdown(wait=False)  # all is done by now, or a person has interrupted and should not wait for it
    if defects:
        raise defects[0]


def _score(bench: Bench, run: _Run, threads: int) -> None:
    assert run.trained is not None
    bench.reporter.stage(run.spec, "score")
    arm, fd, held_out = bench.arms[run.spec.arm], run.trained.checkpoint.fd, bench.held_out(run.spec)
    with run.lasting("score"):
        run.scored = measure_of(bench.track).score(arm, bench.track, fd, held_out, threads)
    run.audits += run.scored.checks
    _refuse_broken(run)


def _audit(bench: Bench, run: _Run, scored: Mapping[str, Scored], threads: int) -> None:
    """Looks where this run beats the other arm of its pair, which for a repeated run was scored earlier.

    A submission that cannot be looked at there is run again, with its core: to make that one fail must help nobody.
    """
    assert run.trained is not None and run.scored is not None
    bench.reporter.stage(run.spec, "audit")
    others = [value.by_item for key, value in scored.items() if key != run.spec.arm + str(run.spec.init_key)]
    reference = others[0] if others else _earlier_reference(bench, run.spec)
    if reference is None and run.spec.arm != "core":
        raise StageError("infrastructure", "audit: the core of its pair has no scores to look for a gain over")
    arm, fd, held_out = bench.arms[run.spec.arm], run.trained.checkpoint.fd, bench.held_out(run.spec)
    count = bench.budget.audit_cuts
    with run.lasting("audit"):
        run.audits += measure_of(bench.track).audit(
            arm, bench.track, fd, held_out, run.scored, reference, count, threads
        )
    _refuse_broken(run)


def _refuse_broken(run: _Run) -> None:
    broken = [audit for audit in run.audits if not audit.ok]
    if broken:
        first = broken[0]
        text = f"{first.id}: {first.value:.4g} where at most {first.limit:.4g} is allowed"
        raise StageError("refused", text)


def _earlier_reference(bench: Bench, spec: RunSpec) -> NDArray[np.float32] | None:
    path = bench.reference_path(spec.round, spec.pair)
    if not path.exists():
        return None
    whole = path.read_bytes()
    if hashlib.sha256(whole[_DIGEST:]).digest() != whole[:_DIGEST]:
        fix = "remove this file and run the same command again: the core of this pair then runs again too"
        raise MachineError(str(path), "is damaged: the core's scores, where the audit looks for gains", fix)
    found: NDArray[np.float32] = np.load(io.BytesIO(whole[_DIGEST:]))
    return found


def _finish(bench: Bench, run: _Run) -> RunRecord:
    """The run file; for a completed run also its checkpoint, and the core's scores as the pair's reference."""
    record = _record(bench, run)
    if record.status == "completed" and run.spec.arm == "core":
        _keep_reference(bench, run)  # first: with the run file there, nobody would score the core again for its pair
    _file(bench, record)
    if record.status == "completed" and run.spec.round != "ladder" and not run.spec.init_key:
        assert run.trained is not None
        data = kept.TrainedOn.of(bench.data)
        kept.keep(bench.kept, bench.arms[run.spec.arm], record, run.trained.checkpoint.fd, data)
    return record


def _file(bench: Bench, record: RunRecord) -> None:
    bench.store.put_run(record)
    saves = _saves(bench, record.spec)
    if saves is not None and record.status not in ENDED:
        saves.forget()  # it is done, or failed by itself and begins again


def _keep_reference(bench: Bench, run: _Run) -> None:
    assert run.scored is not None
    raw = io.BytesIO()
    np.save(raw, run.scored.by_item)
    path = bench.reference_path(run.spec.round, run.spec.pair)
    write_atomically(path, [hashlib.sha256(raw.getbuffer()).digest(), raw.getvalue()])


def _record(bench: Bench, run: _Run) -> RunRecord:
    status: Status = run.failure.status if run.failure else "completed"
    loss, metrics = None, Metrics()
    if run.scored is not None and status == "completed":
        loss, metrics = run.scored.loss, run.scored.metrics
    trained = run.trained
    return RunRecord(
        evaluation=bench.evaluation,
        spec=run.spec,
        status=status,
        loss=loss,
        metrics=metrics,
        tokens_served=trained.tokens_served if trained else 0,
        unique_tokens=trained.unique_tokens if trained else 0,
        train_seconds=round(trained.seconds, 4) if trained else None,
        setup_seconds=round(trained.setup_seconds, 2) if trained else None,
        score_seconds=run.seconds.get("score"),
        audit_seconds=run.seconds.get("audit"),
        curve=trained.curve if trained else (),
        model=trained.model if trained else None,
        audits=run.audits,
        checkpoint_sha256=trained.checkpoint.sha256 if trained else None,
        sandbox=sandbox.name(),
        host=trained.host if trained else host.describe(),
        started=run.started,
        error=run.failure.error if run.failure else None,
    )
