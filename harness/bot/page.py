"""What a pull request's one comment shows, as a value: made by the bot, carried in artifacts, read back as hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from harness.bot.zipped import is_zip, read_bounded, unzip
from harness.decide.cells import TopVerdict
from harness.errors import SubmissionError
from harness.records.record import Metric
from harness.rules import fault
from harness.submission.patch import MAX_READ, CheckResult
from harness.submission.root import SLUG

SCHEMA = 1
ENTRY = "result.json"  # of the page in a zip

JobState = Literal["waiting", "paused", "needs word", "away", "running", "done", "refused", "failed"]
Sha = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Slug = Annotated[str, StringConstraints(pattern=f"^{SLUG.pattern}$")]
Line = Annotated[str, Field(max_length=400)]
Word = Annotated[str, Field(max_length=60)]
LARGEST = 1e12  # in size; a patch may come to any loss
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1e12)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FaultPart(_Closed):
    """One broken rule."""

    rule: Word
    where: Line
    what: Line
    fix: Line


class CheckPart(_Closed):
    """What every rule had to say."""

    ok: bool
    added: Count = 0  # lines
    removed: Count = 0  # lines
    patch_sha: Digest | None = None
    core_id: Digest | None = None  # of all of the core that it was held against
    warnings: tuple[Line, ...] = Field((), max_length=50)
    faults: tuple[FaultPart, ...] = Field((), max_length=500)

    @property
    def broken(self) -> str:
        return "1 rule is broken" if len(self.faults) == 1 else f"{len(self.faults)} rules are broken"


class PlanPart(_Closed):
    """What one claim would take, before it is measured."""

    track: Word
    budget: Word
    metric: Metric
    pairs_at_most: Count
    seconds_at_most: Amount | None = None  # None: nothing of this size has been run on this kind of machine
    cost_at_most: Amount | None = None
    least: Finite | None = None  # gain that would be found with a chance of 80 %


class ConfirmPart(_Closed):
    """What fresh seeds and the test split made of an accepted claim: the number that is published."""

    needed: Count  # pairs
    done: Count
    gain: Finite | None = None
    confirmed: bool | None = None


class CellPart(_Closed):
    """One claim as it was decided."""

    track: Word
    budget: Word
    metric: Metric
    verdict: TopVerdict
    reason: Line = ""
    pairs: Count
    max_pairs: Count
    gain: Finite | None = None
    interval: tuple[Finite, Finite] | None = None
    p: Finite | None = None
    alpha: Finite | None = None
    time_ratio: Finite | None = None
    time_interval: tuple[Finite, Finite] | None = None
    net_gain: Finite | None = None
    confirm: ConfirmPart | None = None


class JobPart(_Closed):
    """One measurement that a maintainer asked for."""

    sha: Sha
    track: Word
    budget: Word
    state: JobState
    position: Count | None = None  # in the queue, 1 is next
    seconds_expected: Amount | None = None
    cost_expected: Amount | None = None
    seconds: Amount = 0.0  # spent so far
    cost: Amount | None = None
    live: Line = ""
    reason: Line = ""
    verdict: TopVerdict | None = None
    cells: tuple[CellPart, ...] = Field((), max_length=64)
    faults: tuple[FaultPart, ...] = Field((), max_length=64)


class Page(_Closed):
    """Everything that one comment shows."""

    schema_: int = Field(SCHEMA, alias="schema", ge=1, le=SCHEMA)
    pr: Annotated[int, Field(ge=1, le=10**9)]
    sha: Sha
    slug: Slug | None = None
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{0,3}$")] = ""
    check: CheckPart
    patch: Annotated[str, Field(max_length=MAX_READ)] = ""
    plans: tuple[PlanPart, ...] = Field((), max_length=64)
    jobs: tuple[JobPart, ...] = Field((), max_length=200)
    notes: tuple[Line, ...] = Field((), max_length=50)

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True)


def read_page(path: Path, pr: int, sha: str) -> Page:
    """The page in a file that a machine of strangers' code has written; raises SubmissionError.

    It is JSON, or a zip that holds it; it has to be of this pull request and this commit.
    """
    content = read_bounded(path)
    if is_zip(content):
        files = unzip(content, path.name)
        if ENTRY not in files:
            raise SubmissionError(fault("pull-artifact", path.name, f"holds no {ENTRY}"))
        content = files[ENTRY]
    return parse_page(content, path.name, pr, sha)


def parse_page(content: bytes, where: str, pr: int, sha: str) -> Page:
    page = page_in(content, where)
    if page.pr != pr or page.sha != sha:
        found = f"is of pull request {page.pr} at {page.sha[:12]}, not of {pr} at {sha[:12]}"
        raise SubmissionError(fault("pull-artifact", where, found))
    return page


def page_in(content: bytes, where: str) -> Page:
    """A page whose parts are all in bounds and speak of one patch; of which commit is for the caller to look at."""
    try:
        page = Page.model_validate_json(content)
    except (ValidationError, RecursionError) as error:
        said = first_of(error) if isinstance(error, ValidationError) else "nested too deeply"
        raise SubmissionError(fault("pull-artifact", where, said)) from None
    if (
        page.check.patch_sha
        and hashlib.sha256(page.patch.encode("utf-8", "replace")).hexdigest() != page.check.patch_sha
    ):
        raise SubmissionError(fault("pull-artifact", where, "shows another patch than the one that was checked"))
    return page


def first_of(error: ValidationError) -> str:
    """The first thing that is wrong, after its place where it has one."""
    detail = error.errors(include_url=False, include_input=False)[0]
    spot = ".".join(str(part) for part in detail["loc"])[:80]
    said = f"{detail['msg'][:120]!a}"
    return f"{spot!a}: {said}" if spot else said


def at_fault(job: Any) -> bool:
    """Whether a measurement failed by the submission's own fault: poll and workflow answer alike."""
    return bool(job.state == "refused" or job.verdict == "INVALID")


def cut(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fault_parts(faults: Iterable[dict[str, str]], most: int) -> tuple[FaultPart, ...]:
    return tuple(
        FaultPart(rule=cut(one["rule"], 60), where=cut(one["where"]), what=cut(one["what"]), fix=cut(one["fix"]))
        for one in list(faults)[:most]
    )


def check_part(result: CheckResult) -> CheckPart:
    faults = fault_parts((one.to_json() for one in result.faults), 500)
    warnings = tuple(cut(one) for one in result.warnings[:50])
    return CheckPart(
        ok=result.ok,
        added=result.added,
        removed=result.removed,
        patch_sha=result.patch_sha,
        core_id=result.core_id,
        warnings=warnings,
        faults=faults,
    )


def cell_parts(answer: dict[str, Any]) -> tuple[CellPart, ...]:
    """The cells of what `blueberry run --json` printed, as far as a comment shows them."""
    wanted = CellPart.model_fields.keys()
    return tuple(
        CellPart.model_validate({key: _held(cell[key]) for key in wanted if key in cell}) for cell in answer["cells"]
    )


def _held(value: Any) -> Any:
    """The same, with every number and word brought back to what a comment shows at most."""
    match value:
        case str():
            return cut(value)
        case float():
            return max(-LARGEST, min(LARGEST, value))
        case list() | tuple():
            return [_held(one) for one in value]
        case dict():
            return {key: _held(one) for key, one in value.items()}
    return value
