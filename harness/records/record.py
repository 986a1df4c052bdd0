"""What was asked (RunSpec), what happened (RunRecord) and what was promised beforehand (EvaluationRecord).

`RunRecord` is the waist of the project: everything before it can be rerun, everything after it is rendered from these
files alone. Fields are named as in the JSON; numbers carry their unit in the name or in the comment.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1

Round = Literal["decide", "confirm", "calibrate", "repeat", "ladder"]
Status = Literal["completed", "diverged", "crashed", "timed_out", "killed", "refused", "infrastructure"]
Metric = Literal["loss", "speed"]


Finite = Annotated[float, Field(allow_inf_nan=False)]
Loss = Annotated[float, Field(allow_inf_nan=False, ge=-1e40, le=1e40)]  # float32 ends before, and its square is finite


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSpec(_Frozen):
    """One run as it was ordered. Two runs with equal specs are the same run, and the second is never started."""

    arm: str  # "core", or the folder's name in submissions/ or baselines/
    patch_sha: str | None  # sha256 of patch.diff; None for the core
    core_id: str  # digest of the core files of this track, unpatched
    track: str
    budget: str
    tokens: int  # training tokens that the budget allows
    seed: int  # data order and initialisation of both arms of a pair
    round: Round
    pair: int  # counted from 0 within the round
    order: int  # 0: ran first in its pair, 1: ran second
    attempt: int  # 1, then 2 ... after a crash or a kill
    data_id: str  # digest of the prepared data
    init_key: int = 0  # 0, or 1 for the re-keyed initialisation of a calibration pair

    @property
    def stem(self) -> str:
        """File name without suffix; unique within an evaluation."""
        key = "-rekeyed" if self.init_key else ""
        return f"{self.round}-{self.pair:02d}-{self.order}-{self.arm}{key}-a{self.attempt}"


class Host(_Frozen):
    """Where a run ran. Times are compared only within one host class, and there only inside a pair."""

    accelerator: str  # "cpu", or the name of the GPU
    cpu: str
    threads: int
    torch: str
    python: str
    system: str  # kernel name and machine, e.g. "Linux x86_64"

    @property
    def host_class(self) -> str:
        """Accelerator or CPU model, thread count, torch version."""
        device = self.cpu if self.accelerator == "cpu" else self.accelerator
        return f"{device}, {self.threads} threads, torch {self.torch}"


class ModelFacts(_Frozen):
    """What the run says of its model: counts by the judge from the checkpoint, the rest by the worker."""

    parameters: int
    active_parameters: int
    steps: int  # optimizer updates
    batch_tokens: int  # tokens per update
    micro_batch: int  # rows per forward pass
    fitted: bool = False  # True: the micro-batch was halved to fit this host's memory
    precision: str  # "bf16", "fp16" or "fp32"
    peak_memory_bytes: int
    unmoved: Finite | None = None  # share of the weights (tensors) that training left as they were: dead parameters


class AuditResult(_Frozen):
    """One audit: its measured value against its limit."""

    id: str
    ok: bool
    value: Finite
    limit: Finite


class Metrics(_Frozen):
    """Beside the loss; for orientation, never an input to a verdict."""

    accuracy: Finite | None = None  # share of predictions whose largest probability is the true token
    perplexity: Finite | None = None  # exp(loss), capped at exp(20)
    details: dict[str, Finite] = {}  # what else the track's measure tells, by the name that reports show


class RunRecord(_Frozen):
    """One started run: what was asked, what came of it. Written once, never changed."""

    schema_: int = Field(SCHEMA, alias="schema", le=SCHEMA)
    evaluation: str  # id of the EvaluationRecord (or calibration) that ordered it
    spec: RunSpec
    status: Status
    loss: Loss | None = None  # on validation; on test in the confirm round
    metrics: Metrics = Metrics()
    tokens_served: int = 0  # by the judge's meter
    unique_tokens: int = 0  # different ones within the budget; fewer than served where passes repeat
    train_seconds: Finite | None = None  # by the judge's clock, all its parts; of a further attempt it decides nothing
    score_seconds: Finite | None = None  # of scoring and of the audit, start-up included; outside the clock as well
    audit_seconds: Finite | None = None
    setup_seconds: Finite | None = None  # start, build and warm-up, before the clock
    curve: tuple[tuple[int, Loss, Finite], ...] = ()  # (tokens, train loss as the worker says, seconds)
    model: ModelFacts | None = None
    audits: tuple[AuditResult, ...] = ()
    checkpoint_sha256: str | None = None
    sandbox: str = "none"
    host: Host | None = None
    started: str = ""  # UTC, ISO 8601
    error: str | None = None  # tail of what went wrong, for people

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @property
    def usable(self) -> bool:
        """Counts for loss."""
        return self.status == "completed" and self.loss is not None


class Claim(_Frozen):
    """What a submission says it improves."""

    track: str
    budget: str
    metric: Metric


class ContestKey(NamedTuple):
    """What is decided once: a patch and its claims in one cell, on one core and one set of data."""

    slug: str
    patch_sha: str | None
    builds_on: tuple[str, ...]
    track: str
    budget: str
    metrics: tuple[Metric, ...]
    claimed: bool
    core_id: str
    data_id: str


class EvaluationRecord(_Frozen):
    """All pairs of one submission at one track and budget: frozen before any seed is drawn, closed with the digests.

    `salt_sha256` binds the harness to one salt before the seeds are known; `salt` is published when it closes.
    """

    schema_: int = Field(SCHEMA, alias="schema", le=SCHEMA)
    id: str
    kind: Literal["submission", "calibration"] = "submission"
    slug: str  # folder in submissions/ or baselines/; "core" for a calibration
    title: str = ""
    authors: tuple[str, ...] = ()
    patch_sha: str | None
    program: str | None = None  # digest of what the patched core computes, without its words; None in old records
    added: int = 0  # lines
    removed: int = 0
    supersedes: str | None = None
    builds_on: tuple[str, ...] = ()  # slug@sha256 of the patches that both arms carry: the gain is one given those
    track: str
    budget: str
    metrics: tuple[Metric, ...]  # what is claimed in this cell; ("loss",) when nothing is
    claimed: bool = True  # False: an exploratory cell that the manifest does not claim
    k: int = 1  # number of (track, budget, metric) cells that the submission claims
    alpha: Finite = 0.02  # halved for every earlier evaluation of the same idea
    max_pairs: int
    confirm_pairs: int
    s0: Finite | None = None  # prior sd of a loss difference, from the bank; None: no bank
    s0_time: Finite | None = None  # prior sd of ln(time ratio)
    d0: Finite = 0.0  # weight of the bank for the loss, in pairs
    d0_time: Finite = 0.0  # weight of the bank for the time, in pairs
    s0_df: Finite | None = None  # degrees of freedom that s0 rests on; None in old records
    s0_time_df: Finite | None = None
    bank: str = ""  # where s0 came from, for people
    epochs: int = 1  # passes over the train split that a run may take
    kappa: Finite | None = None  # nats lost per halving-of-time unit: -dL / d ln T
    systems_only: bool = False  # a maintainer's word: the patch means to change how fast the core is and nothing else
    early_rms: Finite | None = None  # nats that the core's early train losses differ from its own under another start
    loss_debt: Finite = 0.0  # nats that speed records gave away since the last loss record
    time_debt: Finite = 0.0  # ln(time) that loss records gave away since the last speed record
    core_id: str  # digest of the track's core files
    core_digest: str  # digest of all of model_core
    data_id: str
    salt_sha256: str
    official: bool = False
    sandbox: str = "none"
    provisional: bool = False  # official, but measured without a sandbox
    opened: str = ""
    # written when it closes
    closed: str | None = None
    salt: str | None = None
    runs: dict[str, str] = {}  # name of a run file -> sha256 of its bytes
    invalidated: str | None = None  # reason, where a rule was found broken afterwards

    @property
    def parents(self) -> tuple[str, ...]:
        """Slugs of the patches that both arms carry."""
        return tuple(parent.partition("@")[0] for parent in self.builds_on)

    @property
    def contest(self) -> ContestKey:
        return ContestKey(*(getattr(self, name) for name in ContestKey._fields))

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def write_json(record: BaseModel) -> str:
    """Canonical text of a record."""
    return canonical(record.model_dump(mode="json", by_alias=True))


def canonical(payload: dict[str, Any]) -> str:
    """Text of a JSON object: sorted keys, one field a line, newline-terminated."""
    import json

    lines = json.dumps(payload, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return lines + "\n"
