"""Official evaluations to try things on: a committed one, made into one of another patch as if it had been raced so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.bot.bundle import BOARD
from harness.records import ledger
from harness.records.record import EvaluationRecord, RunRecord, write_json
from harness.records.store import Store, sha256
from harness.run import seeds

REPOSITORY = Path(__file__).parents[2]
MODEL = "wide-smear-llm-tiny-smoke-5fd6d47f52"  # that is remade: confirmed


def measured(
    root: Path,
    slug: str,
    patch_sha: str,
    budget: str = "smoke",
    salt: str = "5a17",
    close: bool = True,
    revoked: bool = False,
    **changed: Any,
) -> EvaluationRecord:
    """Writes an evaluation of this patch, with its runs, into the board below `root`; an open one with its salt.
    `revoked`: its gain is gone on fresh seeds."""
    board, store = REPOSITORY / BOARD, Store(root / BOARD)
    record = json.loads((board / "evaluations" / f"{MODEL}.json").read_text())
    name = f"{slug}-llm-tiny-{budget}-{seeds.digest(salt)[:10]}"
    record |= {"id": name, "slug": slug, "patch_sha": patch_sha, "budget": budget, "salt_sha256": seeds.digest(salt)}
    record |= {"salt": salt, "runs": {}, **changed}
    for path in sorted((board / "runs" / MODEL).glob("*.json")):
        run = json.loads(path.read_text())
        spec = run["spec"]
        arm = slug if spec["patch_sha"] else "core"
        seed = seeds.seed(salt, "llm-tiny", budget, patch_sha, spec["round"], spec["pair"])
        spec |= {"arm": arm, "patch_sha": patch_sha if spec["patch_sha"] else None, "budget": budget, "seed": seed}
        if revoked and spec["round"] == "confirm" and spec["patch_sha"]:
            run["loss"] += 0.2
        made = RunRecord.model_validate({**run, "evaluation": name, "spec": spec})
        store.put_run(made)
        record["runs"][f"{made.spec.stem}.json"] = sha256(write_json(made).encode())
    if not close:
        record |= {"closed": None, "salt": None, "runs": {}}
        seeds.keep(root, name, salt)
    made_record = EvaluationRecord.model_validate(record)
    store.put_evaluation(made_record)
    if close:
        ledger.append(store, name)
    return made_record
