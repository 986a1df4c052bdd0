"""Schedules, precision, accumulation, warm-up, averaging and the loop."""

import dataclasses
import math
import subprocess
import sys

import pytest
import torch

from model_core import lm, train

SMALL = dataclasses.replace(
    lm.PRESETS["tiny"], vocab_size=97, max_seq_len=16, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64
)
BATCH_TOKENS = 8 * 16


class Stream:
    """Serves fixed random rows until the budget is used up, and keeps what it is told."""

    def __init__(self, budget_tokens: int) -> None:
        self.left = budget_tokens
        self.reports: list[tuple[int, float]] = []
        self.rng = torch.Generator().manual_seed(5)

    def take(self, rows: int, tokens: int) -> torch.Tensor | None:
        if self.left < rows * tokens:
            return None
        self.left -= rows * tokens
        return torch.randint(8, (rows, tokens + 1), generator=self.rng)  # few words: soon learnt

    def report(self, tokens_seen: int, loss: torch.Tensor) -> None:
        self.reports.append((tokens_seen, loss.item()))


def trainer(config=SMALL, updates=10, kind=lm.LM, **keywords) -> train.Trainer:
    model = train.build(kind, config, 0, "cpu")
    return train.Trainer(model, updates * BATCH_TOKENS, **{"precision": "fp32", **keywords})


def shares(schedule: str, updates: int, **fields) -> list[float]:
    config = dataclasses.replace(SMALL, schedule=schedule, **fields)
    return [train.lr_share((i + 0.5) / updates, config) for i in range(updates)]


@pytest.mark.parametrize("schedule", sorted(train.SCHEDULES))
@pytest.mark.parametrize("updates", [1, 2, 4, 488])
def test_no_update_is_spent_at_lr_zero(schedule, updates):
    values = shares(schedule, updates, warmup=0.02, lr_floor=0.0)
    assert all(0 < value <= 1 for value in values)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_schedules_that_fall_end_at_their_floor(schedule):
    assert shares(schedule, 1_000, warmup=0.01, lr_floor=0.1)[-1] == pytest.approx(0.1, abs=0.003)


def test_step_schedule_is_in_shares_of_the_updates():
    """One published run stepped its schedule once in four updates and never reached the first decay."""
    values = shares("step", 100, warmup=0.0)
    assert values[5] < 1 and values[6] == 1
    assert values[79] == 1 and values[80] == 0.316
    assert values[89] == 0.316 and values[90] == values[99] == 0.1


def test_cosine_is_half_way_in_the_middle_after_its_warm_up():
    config = dataclasses.replace(SMALL, schedule="cosine", warmup=0.2, lr_floor=0.1)
    assert train.lr_share(0.1, config) == pytest.approx(0.5)
    assert train.lr_share(0.6, config) == pytest.approx(0.1 + 0.9 * 0.5)
    assert train.lr_share(0.4, config) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_wsd_is_flat_then_linear():
    config = dataclasses.replace(SMALL, schedule="wsd", warmup=0.1, decay=0.4, lr_floor=0.0)
    found = [train.lr_share(done, config) for done in (0.05, 0.1, 0.6, 0.8, 0.9)]
    assert found == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.25])


def test_inverse_sqrt_falls_with_the_root_of_the_tokens():
    config = dataclasses.replace(SMALL, schedule="inverse_sqrt", warmup=0.04)
    found = [train.lr_share(done, config) for done in (0.02, 0.04, 0.16, 0.64)]
    assert found == pytest.approx([0.5, 1.0, 0.5, 0.25])


def test_constant_is_one():
    assert set(shares("constant", 50, warmup=0.0)) == {1.0}


def test_the_schedule_spans_the_whole_updates_of_the_budget():
    t = trainer(dataclasses.replace(SMALL, schedule="linear", warmup=0.0, lr_floor=0.0), updates=4)
    rates = []
    for _ in range(4):
        t.update(torch.zeros(8, 17, dtype=torch.int64))
        rates.append(t.optimizer.param_groups[0]["lr"] / t.optimizer.param_groups[0]["peak_lr"])
    assert rates == pytest.approx([0.875, 0.625, 0.375, 0.125])


def test_warm_up_restores_model_optimizer_and_random_state_bit_for_bit():
    t, fresh = trainer(precision="bf16"), trainer(precision="bf16")
    before, random = {k: v.clone() for k, v in t.model.state_dict().items()}, torch.get_rng_state()
    t.warm_up()
    assert all(torch.equal(before[name], value) for name, value in t.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert t.steps == 0 and not t.optimizer.state
    assert all(p.grad is None for p in t.model.parameters())
    for each in (t, fresh):
        each.train(Stream(10 * BATCH_TOKENS))
    assert all(torch.equal(a, b) for a, b in zip(t.state().values(), fresh.state().values(), strict=True))


def test_two_runs_are_equal_to_the_bit():
    runs = [trainer(dataclasses.replace(SMALL, dropout=0.1), precision="bf16") for _ in range(2)]
    for t in runs:
        t.train(Stream(10 * BATCH_TOKENS))
        torch.rand(7)  # what else draws random numbers in the process has no say
    assert all(torch.equal(a, b) for a, b in zip(runs[0].state().values(), runs[1].state().values(), strict=True))


@pytest.mark.parametrize("fields", [{}, {"ema": 0.9, "dropout": 0.1}, {"optimizer": "adamw"}])
def test_a_run_resumed_from_a_snapshot_ends_where_an_undisturbed_one_does(tmp_path, fields):
    config = dataclasses.replace(SMALL, **fields)
    whole, first, second = (trainer(config) for _ in range(3))
    whole.train(Stream(10 * BATCH_TOKENS))
    stream = Stream(6 * BATCH_TOKENS)
    first.train(stream)
    torch.save(first.snapshot(), tmp_path / "snapshot.pt")
    second.warm_up()
    second.resume(torch.load(tmp_path / "snapshot.pt", weights_only=True))
    stream.left = 4 * BATCH_TOKENS
    second.train(stream)
    assert all(torch.equal(a, b) for a, b in zip(whole.state().values(), second.state().values(), strict=True))


def test_training_lowers_the_loss_to_that_of_the_text():
    t, stream = trainer(updates=60), Stream(60 * BATCH_TOKENS)
    t.train(stream)
    assert stream.reports[0][1] > 4.0
    assert stream.reports[-1][1] == pytest.approx(math.log(8), abs=0.15)  # eight equally likely words


@pytest.mark.parametrize("micro_batch", [1, 2, 8])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batch):
    rows = torch.randint(97, (8, 17), generator=torch.Generator().manual_seed(0))
    whole, parts = trainer(), trainer(micro_batch=micro_batch)
    assert parts.accumulate(rows).item() == pytest.approx(whole.accumulate(rows).item(), rel=1e-5)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)


def test_an_update_with_micro_batches_is_one_step_and_counts_all_its_tokens():
    """One published run counted micro-batches as updates and trained on half of the tokens that it claimed."""
    t, stream = trainer(updates=6, micro_batch=2), Stream(6 * BATCH_TOKENS + 5)
    t.train(stream)
    assert t.facts()["steps"] == 6 and t.facts()["batch_tokens"] == BATCH_TOKENS
    assert stream.reports[-1][0] == 6 * BATCH_TOKENS
    assert stream.left == 5


class Hungry(lm.LM):
    """Runs out of memory with more than two rows."""

    def loss(self, rows):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return super().loss(rows)


def test_the_micro_batch_is_halved_until_it_fits():
    t = trainer(kind=Hungry)
    t.warm_up()
    assert (t.micro_batch, t.fitted, t.steps) == (2, True, 0)
    t.train(Stream(10 * BATCH_TOKENS))
    assert t.facts()["steps"] == 10


def test_a_micro_batch_that_was_asked_for_is_not_changed():
    with pytest.raises(torch.OutOfMemoryError):
        trainer(kind=Hungry, micro_batch=4).warm_up()


def test_memory_that_the_operating_system_refuses_counts_as_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert train.out_of_memory(caught.value)
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2) @ torch.zeros(3)
    assert not train.out_of_memory(caught.value)


def test_gradients_are_clipped_together():
    t = trainer(dataclasses.replace(SMALL, grad_clip=1e-3, optimizer="adamw"))
    seen = []
    step = t.optimizer.step
    t.optimizer.step = lambda: (seen.extend(p.grad.clone() for p in t.model.parameters()), step())
    t.update(torch.randint(97, (8, 17)))
    assert torch.cat([g.flatten() for g in seen]).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_averaged_weights_follow_the_ramp_and_are_what_is_kept():
    t = trainer(dataclasses.replace(SMALL, ema=0.5))
    name, parameter = "final_norm.weight", t.model.final_norm.weight
    expected = parameter.detach().clone()
    for n in range(1, 11):
        t.update(torch.randint(97, (8, 17)))
        expected += (1 - min(0.5, (1 + n) / (10 + n))) * (parameter.detach() - expected)
    torch.testing.assert_close(t.state()[name], expected)
    assert not torch.equal(t.state()[name], parameter)
    t.model.load_state_dict(t.state(), strict=True)


def test_warm_up_leaves_no_trace_in_averaged_weights():
    t = trainer(dataclasses.replace(SMALL, ema=0.99))
    before = {name: value.clone() for name, value in t.state().items()}
    t.warm_up()
    assert all(torch.equal(before[name], value) for name, value in t.state().items())


def test_state_loads_strictly_into_a_fresh_model_and_predicts_the_same():
    t = trainer()
    t.train(Stream(10 * BATCH_TOKENS))
    other = train.build(lm.LM, SMALL, 1, "cpu")
    other.load_state_dict(t.state(), strict=True)
    ids = torch.randint(97, (2, 16))
    a, b = (train.predictor(model, "bf16")(ids) for model in (t.model, other))
    assert torch.equal(a, b)
    assert a.dtype == torch.float32 and a.shape == (2, 16, 97) and not a.requires_grad


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own tracer does
def test_compiled_training_keeps_plain_names_and_follows_the_eager_run(monkeypatch):
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compile(f, backend="aot_eager"))
    runs = [trainer(dataclasses.replace(SMALL, compile=flag)) for flag in (False, True)]
    for t in runs:
        t.warm_up()
        t.train(Stream(10 * BATCH_TOKENS))
    for (a_name, a), (b_name, b) in zip(*(t.state().items() for t in runs), strict=True):
        assert a_name == b_name
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own tracer does
def test_a_compiler_that_fails_is_not_replaced_by_eager(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no code for this graph")

    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compile(f, backend=broken))
    with pytest.raises(RuntimeError, match="no code for this graph"):
        trainer(dataclasses.replace(SMALL, compile=True)).warm_up()


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((9, 0), "bf16")]
)
def test_precision_on_cuda_goes_by_compute_capability(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert train.resolve_precision("auto", torch.device("cuda")) == precision


@pytest.mark.parametrize(("flag", "precision"), [("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("avx2", "fp32")])
def test_precision_on_cpus_goes_by_instructions(monkeypatch, flag, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True})
    assert train.resolve_precision("auto", torch.device("cpu")) == precision


def test_precision_that_was_asked_for_is_kept():
    assert train.resolve_precision("fp32", torch.device("cpu")) == "fp32"


def test_training_a_model_that_is_not_compiled_does_not_load_the_compiler():
    code = (
        "import sys, torch; from model_core import lm, train;"
        "m = train.build(lm.LM, lm.PRESETS['tiny'], 0, 'cpu'); t = train.Trainer(m, 2048); t.warm_up();"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
