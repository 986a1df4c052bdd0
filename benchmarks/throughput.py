"""Training throughput of the tiny core beside the same shape built from transformers' Llama classes.

Run as `python benchmarks/throughput.py`; takes about a minute and keeps its figures in
benchmarks/results/throughput.json, one record for each precision.

Every arm has a process of its own and they take turns, one update at a time, so that whatever else the machine does
falls on all of them. Beside the core stands the core with Llama's gated MLP, whose matrices are then Llama's exactly,
and beside Llama the same with the core's setting of the allocator. The floor of the core is the summed time of the
matrix products of one update, forward and backward, replayed with their own operands; those of the optimizer are
counted apart, because the peer's AdamW has none. All of them run in bf16 where the CPU has it, elsewhere in fp32.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from products import Products

from model_core import lm, train

RESULT = Path(__file__).parent / "results" / "throughput.json"
ROUNDS = 16  # of which the first is not counted
CORE, GATED = "core", "core, gated MLP"
LLAMA, LLAMA_WITH_MEMORY = "llama", "llama, freed memory kept"
FLOOR, FLOOR_OF_OPTIMIZER = "floor: products of the model", "floor: products of the optimizer"
ARMS = (CORE, GATED, LLAMA, LLAMA_WITH_MEMORY, FLOOR, FLOOR_OF_OPTIMIZER)
PRECISION = train.resolve_precision("auto", torch.device("cpu"))
Run = Callable[[], object]


def core_update(config: lm.LMConfig, rows: torch.Tensor) -> tuple[train.Trainer, Run]:
    model = train.build(lm.LM, config, 0, "cpu")
    trainer = train.Trainer(model, 1_000_000, precision=PRECISION)
    return trainer, lambda: trainer.update(rows)


def llama_update(config: lm.LMConfig, rows: torch.Tensor) -> Run:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        max_position_embeddings=config.max_seq_len,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model = LlamaForCausalLM(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = rows[:, :-1].contiguous()

    def update() -> None:
        optimizer.zero_grad()
        with train.autocast(torch.device("cpu"), PRECISION):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()

    return update


def products(config: lm.LMConfig, rows: torch.Tensor, optimizer: bool) -> Run:
    """Replays the products of the model, or those of its optimizer, in one update."""
    trainer, _ = core_update(config, rows)
    with Products() as of_model:
        trainer.accumulate(rows)
    with Products() as of_optimizer:
        trainer.optimizer.step()
    return (of_optimizer if optimizer else of_model).replay


def arm(name: str) -> Run:
    """What an arm does once a round."""
    config = lm.PRESETS["tiny"]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(config.vocab_size, (config.batch_size, config.max_seq_len + 1), generator=generator)
    if name.startswith("floor"):
        return products(config, rows, optimizer=name == FLOOR_OF_OPTIMIZER)
    if name == LLAMA_WITH_MEMORY:
        train.keep_freed_memory()
    if name.startswith("llama"):
        return llama_update(config, rows)
    return core_update(dataclasses.replace(config, mlp="swiglu") if name == GATED else config, rows)[1]


def serve(name: str, pipe: Connection) -> None:
    """Body of an arm's process: runs once for every message, and answers with the seconds that it took."""
    run = arm(name)
    run()
    while pipe.recv():
        start = time.perf_counter()
        run()
        pipe.send(time.perf_counter() - start)


def measure() -> dict[str, float]:
    """Median seconds of each arm, over rounds in which every one of them runs once while the others wait."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name in ARMS:
        pipes[name], theirs = context.Pipe()
        context.Process(target=serve, args=(name, theirs), daemon=True).start()
    rounds = []
    for _ in range(ROUNDS):
        times = {}
        for name, pipe in pipes.items():
            pipe.send(True)
            times[name] = pipe.recv()
        rounds.append(times)
    for pipe in pipes.values():
        pipe.send(False)
    return {name: statistics.median(times[name] for times in rounds[1:]) for name in ARMS}


def main() -> None:
    config = lm.PRESETS["tiny"]
    tokens = config.batch_size * config.max_seq_len
    result = measure()
    for name, value in result.items():
        print(f"{name:34} {1000 * value:7.1f} ms {tokens / value:9.0f} tokens/s")
    floor = result[FLOOR]
    ratios = {
        "core / llama": result[LLAMA] / result[CORE],
        "core, gated MLP / llama": result[LLAMA] / result[GATED],
        "core / llama, freed memory kept by both": result[LLAMA_WITH_MEMORY] / result[CORE],
        "share of the floor": floor / result[CORE],
        "share of the floor, with the optimizer's products": (floor + result[FLOOR_OF_OPTIMIZER]) / result[CORE],
    }
    for name, value in ratios.items():
        print(f"{name:50} {value:.2f}")
    facts = {"threads": torch.get_num_threads(), "torch": torch.__version__, "rounds": ROUNDS}
    records = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    records[PRECISION] = {"seconds": result, "ratios": ratios, **facts}
    RESULT.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
