"""The untrusted side of one stage of one run. Imports the arm's copy of model_core and does what the judge asks.

Runs as `python -I worker.py IN OUT CHECKPOINT PARENT`: two pipes, the descriptor of the checkpoint's memory file and
the judge's process id. The folder that holds this file also holds `wire.py`, `drawing.py` and the arm's `model_core/`,
and nothing else of the project. Whatever happens here is the submission's word; the judge checks what it can and
believes nothing else.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import io
import math
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
CURVE_POINTS = 64
NO_TOKEN = 0xFFFF  # fills rows of captions up to the length of the longest
SAMPLED = 1_024  # numbers of a weight that are looked at again at the end
EARLY_UPDATES = 100  # in which two arms that compute the same must have nearly the same losses


def die_with(parent: int) -> None:
    """The kernel kills this process when the judge ends, however the judge ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the judge was gone before the call above
        os._exit(1)


class Stream:
    """Training data and the word on it: each request for more goes to the judge's meter, with the latest losses."""

    def __init__(self, channel: Any, torch: Any, job: dict[str, Any], trainer: Any) -> None:
        self.channel = channel
        self.torch = torch
        self.job = job
        self.trainer = trainer
        self._interval = max(1, job["budget_tokens"] // CURVE_POINTS)
        self._updates = trainer.steps
        self._due = (self._updates * trainer.batch_tokens // self._interval + 1) * self._interval
        self._save = False
        self._losses: list[Any] = []
        self._points: list[list[float]] = []

    def ask(self, **what: int) -> Any:
        """The answer to a request for a batch, None when less than that is left."""
        self.channel.send({"kind": "take", "points": self._points, **what})
        self._points = []
        answer = self.channel.receive()
        if answer["kind"] == "end":
            return None
        self._save = self._save or answer["save"]
        return answer

    def report(self, tokens_seen: int, loss: Any) -> None:
        """One update's mean loss, a tensor. Averaged over a 64th of the budget, and at first over ten updates, so that
        the device is waited for seldom and both arms of a pair report at the same places."""
        self._losses.append(loss)
        self._updates += 1
        early = self._updates <= EARLY_UPDATES and self._updates % 10 == 0
        if early or tokens_seen >= self._due:
            mean = float(sum(self._losses)) / len(self._losses)
            self._points.append([tokens_seen, mean if abs(mean) < 1e30 else 1e30])
            self._losses = []
            self._due = (tokens_seen // self._interval + 1) * self._interval
        if self._save:
            state = io.BytesIO()
            self.torch.save(self.trainer.snapshot(), state)
            self.channel.send({"kind": "state", "points": self._points}, state.getbuffer())
            self._points, self._save = [], False


class Text(Stream):
    def take(self, rows: int, tokens: int) -> Any:
        """The next (rows, tokens + 1) tokens as int64."""
        answer = self.ask(rows=rows, tokens=tokens)
        if answer is None:
            return None
        raw = self.channel.payload(answer, rows * (tokens + 1) * 2)
        return as_ids(self.torch, raw).view(rows, tokens + 1)


class Images(Stream):
    def take(self, rows: int) -> Any:
        """The next images (rows, C, S, S), float32 in -1..1, and their labels (rows,), int64."""
        answer = self.ask(rows=rows)
        if answer is None:
            return None
        shape = self.job["image"]
        size = rows * shape[0] * shape[1] * shape[2]
        raw = bytearray(self.channel.payload(answer, size + rows))
        values = self.torch.frombuffer(raw, dtype=self.torch.uint8)
        return values[:size].view(rows, *shape) / 127.5 - 1, values[size:].to(self.torch.int64)


class Captions(Stream):
    def take(self, rows: int) -> Any:
        """The next rows of tokens as int64, -1 after their end."""
        answer = self.ask(rows=rows)
        if answer is None:
            return None
        tokens = self.job["row_tokens"]
        ids = as_ids(self.torch, self.channel.payload(answer, rows * tokens * 2)).view(rows, tokens)
        return ids.masked_fill(ids == NO_TOKEN, -1)


STREAMS = {"nll": Text, "velocity": Images, "reconstruction": Images, "captions": Captions}  # by the track's metric


def import_core(job: dict[str, Any]) -> tuple[Any, Any, Any]:
    """(torch, the recipe module, the train module), from the arm's own copy."""
    sys.path.insert(0, str(FOLDER))
    torch = importlib.import_module("torch")
    torch.set_num_threads(job["threads"])
    recipe = importlib.import_module(f"model_core.{job['module']}")
    train = importlib.import_module("model_core.train")
    for module in (recipe, train):
        assert Path(module.__file__ or "").parent == FOLDER / "model_core", f"{module.__file__} is not this arm's core"
    return torch, recipe, train


def device_of(torch: Any) -> Any:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def peak_memory_bytes(torch: Any) -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status").read_text()  # getrusage would begin at the size of the judge
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def fingerprint(torch: Any, trainer: Any) -> str:
    """Of what a warm-up must leave as it was: weights, their average, the optimizer's state and the random state."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(repr((value.dtype, value.shape)).encode())
            digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
        elif isinstance(value, dict):
            for name in sorted(value, key=repr):
                digest.update(repr(name).encode())
                add(value[name])
        elif isinstance(value, list | tuple):
            for part in value:
                add(part)
        else:
            digest.update(repr(value).encode())

    found = trainer.snapshot()
    optimizer = found["optimizer"]
    if isinstance(optimizer, dict):  # torch's own also tell their rates, which every update sets anew
        optimizer = optimizer.get("state", optimizer)
    add([found["model"], optimizer, found["average"], found["steps"], torch.get_rng_state()])
    add(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])
    return digest.hexdigest()


def sampled(model: Any) -> list[Any]:
    """Some numbers from everywhere in every weight: enough to see whether it has moved, in no time."""
    return [p.detach().flatten()[:: max(1, p.numel() // SAMPLED)].clone() for p in model.parameters()]


def train(channel: Any, job: dict[str, Any], checkpoint: str) -> None:
    torch, recipe, core = import_core(job)
    device = device_of(torch)
    model = core.build(getattr(recipe, job["model"]), recipe.PRESETS[job["preset"]], job["seed"], device)
    trainer = core.Trainer(model, job["budget_tokens"], precision="auto", micro_batch=job["micro_batch"])
    at_first, before = sampled(model), fingerprint(torch, trainer)
    trainer.warm_up()
    warm_up = [before, fingerprint(torch, trainer)]
    if job["resumes"]:
        state = channel.receive()
        raw = io.BytesIO(channel.payload(state, state["bytes"]))
        trainer.resume(torch.load(raw, map_location=device, weights_only=True))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    channel.send({**trainer.facts(), "kind": "ready", "device": name, "warm_up": warm_up})
    trainer.train(STREAMS[job["metric"]](channel, torch, job, trainer))
    from safetensors.torch import save

    state = {key: value.detach().to("cpu").contiguous() for key, value in trainer.state().items()}
    Path(checkpoint).write_bytes(save(state))  # save_file would rename a file of its own over the name
    moved = [not torch.equal(*two) for two in zip(at_first, sampled(model), strict=True)]
    late = {"peak_memory_bytes": peak_memory_bytes(torch), "unmoved": 1 - sum(moved) / len(moved)}
    channel.send({"kind": "done", **late, **trainer.facts()})


def load_model(job: dict[str, Any], checkpoint: str) -> tuple[Any, Any, Any, Any]:
    torch, recipe, core = import_core(job)
    from safetensors.torch import load_file

    device = device_of(torch)
    model = core.build(getattr(recipe, job["model"]), recipe.PRESETS[job["preset"]], 0, device)
    model.load_state_dict(load_file(checkpoint))
    return torch, core, device, model


def load_predictor(job: dict[str, Any], checkpoint: str) -> tuple[Any, Any, Any]:
    torch, core, device, model = load_model(job, checkpoint)
    return torch, device, core.predictor(model, "auto", job["method"])


def as_ids(torch: Any, raw: bytes) -> Any:
    return torch.frombuffer(bytearray(raw), dtype=torch.uint16).to(torch.int64)


def receive_ids(channel: Any, torch: Any, header: dict[str, Any], device: Any) -> Any:
    """A (rows, tokens) batch of int64 ids."""
    rows, tokens = header["rows"], header["tokens"]
    return as_ids(torch, channel.payload(header, rows * tokens * 2)).view(rows, tokens).to(device)


def score(channel: Any, job: dict[str, Any], checkpoint: str) -> None:
    """For each batch of rows of T + 1 tokens: T log-probabilities (float32) a row, then T hits (uint8) a row."""
    torch, device, predict = load_predictor(job, checkpoint)
    channel.send({"kind": "ready"})
    while (header := channel.receive())["kind"] == "rows":
        ids = receive_ids(channel, torch, header, device)  # (B, T + 1)
        targets = ids[:, 1:].unsqueeze(-1)  # (B, T, 1)
        logits = predict(ids[:, :-1]).float()  # (B, T, V)
        log_probability = logits.gather(-1, targets).squeeze(-1) - logits.logsumexp(-1)  # (B, T)
        hits = logits.argmax(-1) == targets.squeeze(-1)
        raw = log_probability.float().cpu().numpy().astype("<f4").tobytes()
        channel.send({"kind": "scores"}, raw + hits.to(torch.uint8).cpu().numpy().tobytes())


def audit(channel: Any, job: dict[str, Any], checkpoint: str) -> None:
    """For each batch of rows of T tokens and their cuts: the whole row of logits (float32) at each cut."""
    torch, device, predict = load_predictor(job, checkpoint)
    channel.send({"kind": "ready"})
    while (header := channel.receive())["kind"] == "rows":
        ids = receive_ids(channel, torch, header, device)  # (B, T)
        logits = predict(ids)  # (B, T, V)
        cuts = torch.tensor(header["cuts"], device=device)
        rows = logits[torch.arange(len(cuts), device=device), cuts].float()  # (B, V)
        channel.send({"kind": "logits"}, rows.cpu().numpy().astype("<f4").tobytes())


def answer(channel: Any, job: dict[str, Any], checkpoint: str) -> None:
    """For each batch of rows of every input: the method's answer. Inputs and answer are (dtype, shape of a row)."""
    torch, device, predict = load_predictor(job, checkpoint)
    import numpy as np

    kinds = [(np.dtype(name), shape) for name, shape in job["inputs"]]
    channel.send({"kind": "ready"})
    while (header := channel.receive())["kind"] == "rows":
        rows = header["rows"]
        sizes = [rows * kind.itemsize * math.prod(shape) for kind, shape in kinds]
        raw = memoryview(bytearray(channel.payload(header, sum(sizes))))
        inputs = []
        for (kind, shape), size in zip(kinds, sizes, strict=True):
            inputs.append(torch.from_numpy(np.frombuffer(raw[:size], kind).reshape(rows, *shape)).to(device))
            raw = raw[size:]
        found = predict(*inputs).cpu().numpy()
        channel.send({"kind": "answers"}, np.ascontiguousarray(found, job["answer"]).tobytes())


def draw(channel: Any, job: dict[str, Any], checkpoint: str) -> None:
    """Samples from the model, for people (drawing.py): answers to each request until there are no more."""
    drawing = importlib.import_module("drawing")
    torch, core, device, model = load_model(job, checkpoint)
    model.eval()
    channel.send({"kind": "ready"})
    while (header := channel.receive())["kind"] == "rows":
        raw = channel.payload(header, header["bytes"])
        with torch.no_grad(), core.autocast(device, core.resolve_precision("auto", device)):
            for found in drawing.DRAW[job["metric"]](torch, model, device, header, raw):
                channel.send({"kind": "drawn"}, found)
        channel.send({"kind": "end"})


def what_went_wrong(error: BaseException) -> str:
    """The error and the innermost line of model_core that it passed through; no traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}model_core{os.sep}" in f.filename]
    place = f" at model_core/{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {str(error)[:500]}{place}"


def main() -> int:
    read_fd, write_fd, checkpoint_fd, parent = (int(value) for value in sys.argv[1:5])
    die_with(parent)
    sys.path.insert(0, str(FOLDER))
    wire = importlib.import_module("wire")
    channel = wire.Channel(read_fd, write_fd)
    job = channel.receive()
    stages = {"train": train, "score": score, "audit": audit, "answer": answer, "draw": draw}
    try:
        stages[job["stage"]](channel, job, f"/proc/self/fd/{checkpoint_fd}")
    except Exception as error:
        channel.send({"kind": "failed", "error": what_went_wrong(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
