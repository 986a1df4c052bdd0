"""Training: precision, schedule, clipping, gradient accumulation, averaged weights and the loop.

The budget is in tokens. A schedule is a function of the share of it that has been used, read in the middle of an
update, so that neither the first nor the last update is spent at LR 0.
"""

import ctypes
import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from model_core import layers, muon

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def constant(done: float, config) -> float:
    return 1.0


def cosine(done: float, config) -> float:
    falling = max(0.0, done - config.warmup) / (1 - config.warmup)
    return config.lr_floor + (1 - config.lr_floor) * 0.5 * (1 + math.cos(math.pi * falling))


def linear(done: float, config) -> float:
    falling = max(0.0, done - config.warmup) / (1 - config.warmup)
    return config.lr_floor + (1 - config.lr_floor) * (1 - falling)


def wsd(done: float, config) -> float:
    """Warm-up, stable, decay: constant, then linear over the last `decay` of the budget (Hu et al. 2024)."""
    return config.lr_floor + (1 - config.lr_floor) * min(1.0, (1 - done) / config.decay)


def inverse_sqrt(done: float, config) -> float:
    """1 until the end of the warm-up, then 1/sqrt of the tokens used (Vaswani et al. 2017)."""
    assert config.warmup > 0, "inverse_sqrt falls from the end of a warm-up"
    return min(1.0, config.warmup / done) ** 0.5


def step(done: float, config) -> float:
    """A warm-up of 6 %, full until 80 %, sqrt(0.1) until 90 %, then 0.1."""
    if done < 0.06:
        return done / 0.06
    return 1.0 if done < 0.8 else 0.316 if done < 0.9 else 0.1


SCHEDULES = {f.__name__: f for f in (constant, cosine, linear, wsd, inverse_sqrt, step)}


def lr_share(done: float, config) -> float:
    """What to multiply every learning rate with when the share `done` (0..1) of the budget has been used."""
    rise = min(1.0, done / config.warmup) if config.warmup else 1.0
    return rise * SCHEDULES[config.schedule](done, config)


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "auto" -> the fastest precision that the hardware computes in itself; anything else is returned as it is.

    torch.cuda.is_bf16_supported() is not asked: it says yes to slow emulation on cards without bf16.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    flags = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    native = ("avx512_bf16", "amx_bf16", "bf16")  # the last one is Arm's
    return "bf16" if any(flags.get(flag) for flag in native) else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")


def build(kind: type[layers.Model], config, seed: int, device: torch.device | str) -> layers.Model:
    """A model of class `kind` with its weights for this seed."""
    with torch.device("meta"):
        model = kind(config)
    model.to_empty(device=device)
    model.init_weights(seed)
    return model


def predictor(model: layers.Model, precision: str, method: str = "forward") -> Callable[..., Tensor]:
    """A method of the model for evaluation: no gradient, no dropout, floats in float32."""
    function = getattr(model, method)
    function = torch.compile(function) if model.config.compile else function
    device = next(model.parameters()).device
    precision = resolve_precision(precision, device)

    @torch.no_grad()
    def predict(*inputs: Tensor) -> Tensor:
        model.eval()
        with autocast(device, precision):
            answer = function(*(value.to(device) for value in inputs))
        return answer.float() if answer.is_floating_point() else answer

    return predict


def keep_freed_memory() -> None:
    """Has glibc keep what an update frees for the next one: faulting it in again takes 7 % of an update of tiny."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: blocks up to 1 GiB come from the heap
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and stay there


def out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it, the CPU allocator only a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class Trainer:
    """Trains a model on at most `budget_tokens`.

    An update reads `config.batch_size` rows, in pieces of `micro_batch` rows: the first is part of the recipe, the
    second of the host. None: all rows at once, halved in `warm_up` until they fit in memory.
    """

    def __init__(
        self, model: layers.Model, budget_tokens: int, precision: str = "auto", micro_batch: int | None = None
    ) -> None:
        keep_freed_memory()
        self.model = model
        self.config = model.config
        self.device = next(model.parameters()).device
        self.precision = resolve_precision(precision, self.device)
        self.batch_tokens = model.batch_tokens
        self.budget_tokens = budget_tokens // self.batch_tokens * self.batch_tokens
        self.may_fit = micro_batch is None
        self.micro_batch = micro_batch or self.config.batch_size
        self.fitted = False
        self.steps = 0
        polar_dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.optimizer = muon.MuonAdamW(model, polar_dtype)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.loss = torch.compile(model.loss) if self.config.compile else model.loss
        self.average = {k: v.clone() for k, v in model.state_dict().items()} if self.config.ema else None

    def train(self, stream) -> None:
        """Updates until the stream ends.

        The stream is told every loss as a tensor and had better read few: reading one waits for the device.
        """
        self.model.train()
        while (batch := self.model.take(stream)) is not None:
            loss = self.update(*(part.to(self.device) for part in batch))
            stream.report(self.steps * self.batch_tokens, loss)

    def update(self, *batch: Tensor) -> Tensor:
        """One optimizer update on the rows of a batch; returns their mean loss, before the update."""
        share = lr_share((self.steps + 0.5) * self.batch_tokens / self.budget_tokens, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
        torch.manual_seed(layers.generator(self.model.seed, "dropout", self.steps).initial_seed())
        loss = self.accumulate(*batch)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.steps += 1
        if self.average:
            self.update_average()
        return loss

    def accumulate(self, *batch: Tensor) -> Tensor:
        """Adds the gradient of the mean loss of a batch, a micro-batch at a time; returns that loss."""
        total = torch.zeros((), device=self.device)
        pieces = zip(*(part.split(self.micro_batch) for part in batch), strict=True)
        for micro in pieces:
            with autocast(self.device, self.precision):
                loss = self.loss(*micro) * (len(micro[0]) / len(batch[0]))
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    @torch.no_grad()
    def update_average(self) -> None:
        """EMA of the weights; the ramp lets short runs leave their initialisation behind."""
        decay = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def warm_up(self) -> None:
        """One update and one prediction on made-up rows, so that compiling is over when the clock starts.

        Leaves model, optimizer and random state as they were, bit for bit.
        """
        kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while not self.rehearse():
                self.micro_batch //= 2
                self.fitted = True
            few = [part[: self.micro_batch].to(self.device) for part in self.model.made_up()]
            predictor(self.model, self.precision)(*self.model.inputs(*few))
        self.model.load_state_dict(kept)
        self.optimizer.state.clear()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.steps = 0
        if self.average:
            self.average = kept

    def rehearse(self) -> bool:
        """One update; False if memory ran out and a smaller micro-batch may be tried."""
        self.model.train()
        try:
            self.update(*(part.to(self.device) for part in self.model.made_up()))
        except RuntimeError as error:
            if not out_of_memory(error) or not self.may_fit or self.micro_batch == 1:
                raise
            self.model.zero_grad()
            return False
        return True

    def state(self) -> dict[str, Tensor]:
        """The weights to keep: the averaged ones if the recipe averages, else the last ones."""
        return self.average or self.model.state_dict()

    def snapshot(self) -> dict:
        """Everything that the next update depends on, as torch.load(weights_only=True) can read it.

        Holds the tensors themselves: to be saved before the next update.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average,
            "steps": self.steps,
        }

    def resume(self, snapshot: dict) -> None:
        """Goes on where `snapshot` was taken; on the CPU to the bit as if nothing had happened in between."""
        self.model.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scaler.load_state_dict(snapshot["scaler"])
        self.average = snapshot["average"]
        self.steps = snapshot["steps"]

    def facts(self) -> dict[str, int | bool | str]:
        """What a record says of this training."""
        return {
            "parameters": self.model.parameter_count(),
            "active_parameters": self.model.active_parameter_count(),
            "steps": self.steps,
            "batch_tokens": self.batch_tokens,
            "micro_batch": self.micro_batch,
            "fitted": self.fitted,
            "precision": self.precision,
        }
