"""What became core: one line a promotion in `promotions.jsonl`, which `blueberry promote` writes beside the ledger.

Read by the board (a promoted record is history, not a challenger), by `rebase` (a parent that is core is left out) and
by evaluations (a rebase that a promotion forced is no second try).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import MachineError

NAME = "promotions.jsonl"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Promoted(_Frozen):
    """One patch of a promotion."""

    slug: str
    patch_sha: str
    evaluations: tuple[str, ...] = Field(min_length=1)  # ids of the records that it was promoted for
    word: str | None = None  # why a maintainer took it under review; None: it was confirmed

    @property
    def name(self) -> str:
        """As `builds_on` names a patch."""
        return f"{self.slug}@{self.patch_sha}"


class Promotion(_Frozen):
    """One revision of the core, made of one submission or of a batch."""

    date: str  # day, UTC
    by: str
    before: str  # digest of all of model_core
    after: str
    patches: tuple[Promoted, ...] = Field(min_length=1)  # in the order in which they were applied
    forced: tuple[str, ...] = ()  # slug@sha256 of the patches that applied before and do not any more


def read(folder: Path) -> tuple[Promotion, ...]:
    """The promotions of a store, oldest first; raises MachineError that names a line which cannot be read."""
    path = folder / NAME
    if not path.exists():
        return ()
    promotions = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            promotions.append(Promotion.model_validate_json(line))
        except ValidationError as error:
            raise MachineError(f"{path}:{number}", "is not a promotion", "restore the file from git") from error
    return tuple(promotions)


def text_with(folder: Path, promotion: Promotion) -> str:
    """The file with one more line."""
    lines = [*read(folder), promotion]
    return "".join(json.dumps(line.model_dump(mode="json"), sort_keys=True) + "\n" for line in lines)


def by_name(promotions: Iterable[Promotion]) -> dict[str, Promotion]:
    """The promotion of each patch, by slug@sha256."""
    return {patch.name: promotion for promotion in promotions for patch in promotion.patches}


def forced(promotions: Iterable[Promotion]) -> set[str]:
    """slug@sha256 of every patch that a promotion forced to be rebased."""
    return {name for promotion in promotions for name in promotion.forced}
