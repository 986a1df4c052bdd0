"""Evaluations with known numbers, written into a real store; used by the board's tests and by its benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.records.record import EvaluationRecord, Host, Metrics, ModelFacts, RunRecord, RunSpec
from harness.records.store import Store
from harness.run import seeds
from harness.tracks import BUDGETS

HOST = Host(accelerator="cpu", cpu="Test CPU", threads=2, torch="2.13.0", python="3.11.2", system="Linux x86_64")
CORE_ID = "c0" * 32
DATA_ID = "da" * 32
CURVE_POINTS = 24


@dataclass
class Factory:
    """Writes evaluations whose pair differences are exactly what the test says."""

    store: Store
    written: int = 0
    details: dict[str, tuple[float, float]] = field(default_factory=dict)  # core, others; + pair
    defaults: dict[str, object] = field(default_factory=dict)

    def evaluation(
        self,
        slug: str = "gated-attention",
        decide: tuple[float, ...] = (0.031, 0.027),
        confirm: tuple[float, ...] = (),
        faster: float = 0.0,
        *,
        close: bool = True,
        status: str = "completed",
        host: Host = HOST,
        noise: float = 0.011,
        **fields: object,
    ) -> EvaluationRecord:
        """One evaluation; `decide` and `confirm` are core minus submission in nats, `faster` is ln(T_core / T_sub)."""
        self.written += 1
        record = self._record(slug, fields)
        rng = np.random.default_rng(self.written)
        for round_, gains in (("decide", decide), ("confirm", confirm)):
            for pair, gain in enumerate(gains):
                level = 4.6 + noise * float(rng.standard_normal())
                last = status if round_ == "decide" and pair == len(gains) - 1 else "completed"
                self._pair(record, round_, pair, level, gain, faster, last, host)
        if close:
            return self._close(record)
        self.store.put_evaluation(record)
        return record

    def calibration(self, budget: str = "smoke", pairs: int = 8) -> EvaluationRecord:
        """Core against the re-keyed core, three repeats of one seed and a ladder at half the budget."""
        self.written += 1
        record = self._record("core", {"kind": "calibration", "patch_sha": None, "budget": budget})
        rng = np.random.default_rng(99)
        levels = 4.6 + 0.011 * rng.standard_normal(pairs)
        for pair, level in enumerate(levels.tolist()):
            gain = 0.005 * float(rng.standard_normal())
            self._arm(record, "calibrate", pair, 0, "core", level, 10.0, "completed", HOST)
            self._arm(record, "calibrate", pair, 1, "core", level - gain, 10.0, "completed", HOST, init_key=1)
        for pair in range(3):
            self._arm(record, "repeat", pair, 0, "core", 4.6 + 1e-4 * pair, 10.0, "completed", HOST)
            self._arm(record, "ladder", pair, 0, "core", levels[pair] + 0.2, 5.0, "completed", HOST)
        return self._close(record)

    def _record(self, slug: str, fields: dict[str, object]) -> EvaluationRecord:
        budget = BUDGETS[str(fields.get("budget", "smoke"))]
        base: dict[str, object] = {
            "id": f"{self.written:05d}-{slug[:40].replace('/', '-')}",
            "slug": slug,
            "title": slug.replace("-", " "),
            "authors": ("Ada",),
            "patch_sha": f"{self.written:064x}",
            "added": 6,
            "removed": 1,
            "track": "llm-tiny",
            "budget": budget.name,
            "metrics": ("loss",),
            "max_pairs": budget.max_pairs,
            "confirm_pairs": budget.confirm_pairs,
            "s0": 0.0064,
            "s0_time": 0.0035,
            "d0": 4.0,
            "d0_time": 4.0,
            "bank": "8 calibration pairs",
            "kappa": 0.3,
            "core_id": CORE_ID,
            "core_digest": "cd" * 32,
            "data_id": DATA_ID,
            "official": True,
            "provisional": True,
            "opened": f"2026-01-{1 + self.written % 28:02d}T08:00:00Z",
        }
        named = base | self.defaults | fields
        return EvaluationRecord(**({"salt_sha256": seeds.digest(str(named["id"]))} | named))

    def _pair(
        self, record: EvaluationRecord, round_: str, pair: int, level: float, gain: float, faster: float,
        status: str, host: Host,
    ) -> None:  # fmt: skip
        seconds = 10.0
        self._arm(record, round_, pair, pair % 2, "core", level, seconds, "completed", host)
        own = seconds * float(np.exp(-faster))
        self._arm(record, round_, pair, 1 - pair % 2, record.slug, level - gain, own, status, host)

    def _arm(
        self, record: EvaluationRecord, round_: str, pair: int, order: int, arm: str, loss: float, seconds: float,
        status: str, host: Host, init_key: int = 0,
    ) -> None:  # fmt: skip
        tokens = BUDGETS[record.budget].tokens // (2 if round_ == "ladder" else 1)
        core = arm == "core" and init_key == 0
        spec = RunSpec(
            arm=arm, patch_sha=None if core else record.patch_sha, core_id=record.core_id, track=record.track,
            budget=record.budget, tokens=tokens, seed=_seed(record, round_, pair), round=round_, pair=pair,
            order=order, attempt=1, data_id=record.data_id, init_key=init_key,
        )  # fmt: skip
        done = status == "completed"
        share = np.linspace(1 / CURVE_POINTS, 1, CURVE_POINTS)
        curve = tuple(
            (int(part * tokens), round(loss + 4 * float(np.exp(-6 * part)), 4), round(seconds * float(part), 3))
            for part in share
        )
        run = RunRecord(
            evaluation=record.id, spec=spec, status=status, loss=loss if done else None, tokens_served=tokens,
            train_seconds=seconds if done else None, curve=curve, host=host, started=record.opened,
            model=ModelFacts(
                parameters=2_500_000, active_parameters=2_500_000, steps=32, batch_tokens=2048, micro_batch=8,
                precision="fp32", peak_memory_bytes=2**28,
            ),
            error=None if done else "the audit disagrees",
            metrics=Metrics(details={name: told[not core] + pair for name, told in self.details.items()}),
        )  # fmt: skip
        self.write(run)

    def write(self, run: RunRecord) -> None:
        self.store.put_run(run)

    def _close(self, record: EvaluationRecord) -> EvaluationRecord:
        closed = record.model_copy(
            update={"closed": record.opened, "salt": record.id, "runs": self.store.run_digests(record.id)}
        )
        self.store.put_evaluation(closed)
        return closed


def _seed(record: EvaluationRecord, round_: str, pair: int) -> int:
    """Those of the salt, which is the id; of a calibration repeats share one, and the ladder has those of the pairs."""
    if record.kind == "calibration":
        return 3000 if round_ == "repeat" else 4000 + pair
    return seeds.seed(record.id, record.track, record.budget, record.patch_sha or "", round_, pair)
