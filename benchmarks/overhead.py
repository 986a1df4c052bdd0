"""What the harness costs: the train stage under the judge against the same core in a bare loop, interleaved.

Both sides are fresh processes that build, warm up, train on the same tokens and save a checkpoint; the time runs from
the first token to the complete checkpoint. Prints one line a pair and the median ratio.

    python benchmarks/overhead.py [BUDGET [PAIRS]]        BUDGET: smoke (default), 1M, ...
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.data.prepare import PreparedData, prepare
from harness.data.stream import TokenStream
from harness.run import arms, host, judge, nll
from harness.run.stage import Arm
from harness.submission.patch import unpatched
from harness.tracks import Budget, budget_named, track_named

ROOT = Path(__file__).parent.parent
TRACK = track_named("llm-tiny")


class BareStream:
    """Tokens from memory, without a judge."""

    def __init__(self, stream: TokenStream, take: object) -> None:
        self.stream = stream
        self.as_tensor = take

    def take(self, rows: int, tokens: int) -> object:
        batch = self.stream.take(rows, tokens)
        return None if batch is None else self.as_tensor(batch.astype("int64"))  # type: ignore[operator]

    def report(self, tokens_seen: int, loss: object) -> None:
        pass


def bare(budget: Budget, seed: int) -> float:
    """Seconds of the bare loop; runs in its own process (see main)."""
    import torch
    from safetensors.torch import save_file

    from model_core import lm, train

    torch.set_num_threads(host.threads())
    prepared = prepare(TRACK)
    model = train.build(lm.LM, lm.PRESETS[TRACK.preset], host.worker_seed("", seed, 0), torch.device("cpu"))
    trainer = train.Trainer(model, budget.tokens)
    trainer.warm_up()
    stream = BareStream(TokenStream(prepared, seed, budget.tokens, TRACK.row_tokens), torch.from_numpy)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        trainer.train(stream)
        save_file(trainer.state(), Path(folder) / "checkpoint.safetensors")
        return time.monotonic() - start


def judged(arm: Arm, prepared: PreparedData, budget: Budget, seed: int) -> float:
    """Seconds of the train stage by the judge's clock."""
    feed = nll.feed(prepared, TRACK, seed, budget.tokens, epochs=1)
    trained = judge.train(arm, TRACK, budget.tokens, host.worker_seed("", seed, 0), feed, None, lambda *told: None)
    trained.checkpoint.close()
    return trained.seconds


def main() -> None:
    if sys.argv[1:2] == ["bare"]:
        print(bare(budget_named(sys.argv[2]), int(sys.argv[3])))
        return
    budget = budget_named(sys.argv[1] if len(sys.argv) > 1 else "smoke")
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    prepared = prepare(TRACK)
    ratios = []
    with tempfile.TemporaryDirectory() as work:
        core = unpatched(ROOT, None, Path(work) / "core")
        with arms.built(Path(work), {"core": core}) as built:
            for seed in range(pairs + 1):
                command = [sys.executable, __file__, "bare", budget.name, str(seed)]
                alone = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                under = judged(built["core"], prepared, budget, seed)
                if seed:  # the first pair warms the machine up
                    ratios.append(under / alone)
                    print(
                        f"pair {seed}: bare {alone:.2f} s, judged {under:.2f} s, ratio {under / alone:.4f}", flush=True
                    )
    print(f"train stage under the judge / bare loop at {budget.name}: median {statistics.median(ratios):.4f}")


if __name__ == "__main__":
    main()
