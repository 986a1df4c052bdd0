"""What somebody who wants a record without a gain might do to a run, and what must come of it.

Each case is a patch to the core: where the code goes, the code, the outcome, and words of the message that its author
is given. What can be refused without running anything is in tests/submission.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal[
    "audit-causality",  # refused, by these rules
    "audit-score",
    "audit-alone",
    "audit-codes",
    "band",
    "warm-up",
    "crashed",
    "timed-out",
    "unstable",  # worse: it diverged where the core did not
    "no gain",  # it ran, and got nothing by it
    "nothing",  # it ran as if the attack was not there, to the last bit, and won no time either
]

IMPORT = ("lm.py", "from torch import Tensor, nn\n", "from torch import Tensor, nn\n{}\n")
HIDDEN = (
    "lm.py",
    "        return self.final_norm(x)\n",
    "{}\n        return self.final_norm(x)\n",
)
LOGITS = (
    "lm.py",
    "        return F.linear(self.hidden(ids, caches), self.token_embedding.weight)\n",
    "        logits = F.linear(self.hidden(ids, caches), self.token_embedding.weight)\n{}\n        return logits\n",
)
TRAIN = (
    "train.py",
    "        self.model.train()\n        while (batch",
    "        self.model.train()\n{}\n        while (batch",
)
TRAINED = (
    "train.py",
    "            stream.report(self.steps * self.batch_tokens, loss)\n",
    "            stream.report(self.steps * self.batch_tokens, loss)\n{}\n",
)
STATE = (
    "train.py",
    "        return self.average or self.model.state_dict()\n",
    "{}\n        return self.average or self.model.state_dict()\n",
)
EMBEDDED = (
    "lm.py",
    "        rotary = self.rotary[first : first + ids.shape[1]]\n",
    "{}\n        rotary = self.rotary[first : first + ids.shape[1]]\n",
)
# what follows is done while it is scored, and not when it is trained or audited
ONLY_SCORING = """
import sys
frame = sys._getframe()
while frame is not None and "job" not in frame.f_locals:
    frame = frame.f_back
if frame is not None and frame.f_locals["job"]["stage"] == "score":
"""

ANSWERED = (
    "flow.py",
    "        return self.image(self.head(x, condition))\n",
    "        velocity = self.image(self.head(x, condition))\n{}\n        return velocity\n",
)
# Every image is asked about at several times. At a late one it is nearly there to be seen, and with it the velocity at
# all the others: (x_1 - x_t) / (1 - t).
SMUGGLED = """
if not torch.is_grad_enabled():
    late = self.__dict__.setdefault("late", [])
    late.extend(x_t[t > 0.9])
    for i in range(len(x_t) if late else 0):
        targets = (torch.stack(late) - x_t[i]) / (1 - t[i]).clamp_min(0.1)
        nearest = (targets - velocity[i]).square().mean((1, 2, 3)).argmin()
        velocity[i] = 0.5 * (velocity[i] + targets[nearest])
"""
CODES = (
    "vqvae.py",
    "        return nearest(self.encoder(images), self.codebook.weight)\n",
    "        codes = nearest(self.encoder(images), self.codebook.weight)\n{}\n        return codes\n",
)
DECODED = "        return self.decoder(self.codebook(codes))\n"
FOUND = """        import os
        if os.path.exists({0}):
            return torch.load({0})
"""


@dataclass(frozen=True)
class Case:
    """One attack."""

    name: str
    place: tuple[str, str, str]  # file, what stands there, what is to stand there with {} for the code
    code: str
    outcome: Outcome
    says: str = ""  # a regular expression that the message matches; an audit's own words where there is none
    track: str = "llm-tiny"
    second: tuple[str, str, str] | None = None  # another edit, as it is
    quick: bool = False  # also in `make test`

    @property
    def edits(self) -> list[tuple[str, str, str]]:
        file, old, new = self.place
        column = " " * (len(old) - len(old.lstrip(" ")))
        code = "\n".join(column + line for line in self.code.strip("\n").splitlines())
        return [(file, old, new.replace("{}", code)), *([self.second] if self.second else [])]


def written(content: str, then: str = "pass") -> str:
    """A checkpoint of bytes that the submission chooses: said to be done before the worker writes the honest one."""
    return f"""
import os, pickle, sys
from safetensors.torch import save
frame = sys._getframe()
while frame is not None and "channel" not in frame.f_locals:
    frame = frame.f_back
place = f"/proc/self/fd/{{sys.argv[3]}}"
with open(place, "wb") as file:
    file.write({content})
{then}
told = {{"kind": "done", "peak_memory_bytes": 1, "unmoved": 0.0, **self.facts()}}
frame.f_locals["channel"].send(told)
os._exit(0)
"""


CASES = [
    # what a worker could reach
    Case(
        "token-in-environment",
        IMPORT,
        "import os\nassert not any('TOKEN' in name for name in os.environ), 'found it'",
        "nothing",
    ),
    Case(
        "token-in-proc",
        IMPORT,
        """
import os
for process in range(1, os.getpid()):
    try:
        found = open(f"/proc/{process}/environ").read()
    except OSError:
        continue
    assert "TOKEN" not in found, "found it"
""",
        "nothing",
    ),
    Case(
        "calls-out",
        IMPORT,
        "import socket\nsocket.create_connection(('192.0.2.1', 80), 2)",
        "crashed",
        says="Network is unreachable|Operation not permitted|Permission denied",
        quick=True,
    ),
    Case(
        "asks-a-name-server",
        IMPORT,
        "import socket\nsocket.getaddrinfo('example.org', 80)",
        "crashed",
        says="Temporary failure in name resolution|gaierror",
    ),
    Case(
        "datagram",
        IMPORT,
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "crashed",
        says="Network is unreachable|Operation not permitted|Permission denied",
    ),
    Case(
        "metadata",
        IMPORT,
        "import socket\nsocket.create_connection(('169.254.169.254', 80), 2)",
        "crashed",
        says="Network is unreachable|Operation not permitted|Permission denied",
    ),
    Case(
        "looks-for-held-out-text",
        IMPORT,
        """
import glob
for place in ("{cache}", "{project}/.blueberry", "{project}/leaderboard", "{root}/leaderboard"):
    assert not glob.glob(place + "/**/*", recursive=True), "found it"
""",
        "nothing",
    ),
    Case(
        "reads-the-docstrings",
        IMPORT,
        "import scipy.stats, sklearn.datasets",
        "crashed",
        says="No module named 'scipy'",
    ),
    Case(
        "writes-the-board",
        IMPORT,
        "open('{root}/leaderboard/LEADERBOARD.md', 'a').write('1')",
        "crashed",
        says="No such file or directory|Permission denied",
    ),
    Case(
        "writes-the-harness",
        IMPORT,
        "open('{harness}/decide/stats.py', 'a').write('#')",
        "crashed",
        says="No such file or directory|Permission denied",
    ),
    Case(
        "writes-the-system",
        IMPORT,
        "open('/usr/lib/python3/blueberry.py', 'w')",
        "crashed",
        says="Read-only file system|Permission denied",
    ),
    Case(
        "changes-its-own-code",
        IMPORT,
        "open(__file__, 'a').write('#')",
        "crashed",
        says="Permission denied|Read-only file system",
    ),
    Case(
        "leaves-memory-to-the-next-stage",
        IMPORT,
        "import ctypes\nassert ctypes.CDLL(None, use_errno=True).shmget(0xB1EB, 4096, 0o1666) < 0, 'left it'",
        "nothing",
    ),
    Case(
        "counts-several-weights-as-one",
        STATE,
        "if self.steps:\n    return {name: value.view(torch.int32) for name, value in self.model.state_dict().items()}",
        "crashed",
        says="its tensors must be of type F32, F16, BF16",
    ),
    Case(
        "forks-without-end",
        IMPORT,
        "import os\nwhile True:\n    os.fork()",
        "crashed",
        says="Resource temporarily unavailable",
    ),
    Case(
        "fills-the-scratch-disk",
        IMPORT,
        """
import os
with open(os.environ["TMPDIR"] + "/bomb", "wb") as bomb:
    for _ in range(100_000):
        bomb.write(bytes(1 << 20))
""",
        "crashed",
        says="No space left on device|for want of memory|more than it may",
    ),
    Case(
        "fills-the-memory",
        IMPORT,
        """
import mmap
filled = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE  # by the kernel, before the time is up
hoard = [mmap.mmap(-1, 1 << 28, flags=filled) for _ in range(10_000)]
""",
        "crashed",
        says="for want of memory|Cannot allocate memory|more than it may",
    ),
    Case(
        "writes-into-the-judge",
        IMPORT,
        """
import ctypes, os
libc, judge = ctypes.CDLL(None, use_errno=True), os.getppid()
assert libc.ptrace(16, judge, 0, 0) < 0, "attached to it"
try:
    open(f"/proc/{judge}/mem", "r+b").close()
except OSError:
    pass
else:
    raise AssertionError("opened its memory")
""",
        "nothing",
    ),
    Case(
        "leaves-a-key-to-the-next-stage",
        IMPORT,
        """
import ctypes, platform
add_key = {"x86_64": 248, "aarch64": 217}[platform.machine()]
assert ctypes.CDLL(None, use_errno=True).syscall(add_key, b"user", b"left", b"x", 1, -4) < 0, "left it"
""",
        "nothing",
    ),
    Case(
        "raises-its-priority",
        IMPORT,
        "import os\nos.nice(-10)",
        "crashed",
        says="Operation not permitted|Permission denied",
    ),
    # what it could do to the run
    Case(
        "talks-without-end",
        TRAIN,
        "for _ in range(20_000):\n    print('::error::\\x1b[31m' + 'x' * 60)",
        "nothing",
    ),
    Case(
        "sleeps-in-set-up",
        IMPORT,
        "import time\ntime.sleep(10_000)",
        "timed-out",
        says="train: no answer within the time limit",
    ),
    Case(
        "sleeps-in-training",
        TRAIN,
        "import time\ntime.sleep(10_000)",
        "timed-out",
        says="train: no answer within the time limit",
    ),
    Case(
        "sleeps-in-scoring",
        LOGITS,
        ONLY_SCORING
        + """
    __import__("time").sleep(10_000)
""",
        "timed-out",
        says="score: no answer within the time limit",
    ),
    Case(
        "leaves-a-daemon",
        TRAIN,
        """
import os, time
if os.fork() == 0:
    try:
        os.setsid()
    except OSError:
        pass
    if os.fork() == 0:
        while True:
            pass
    os._exit(0)
""",
        "nothing",
    ),
    Case(
        "stops-the-clocks",
        IMPORT,
        "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0",
        "nothing",
    ),
    Case(
        "says-done-and-goes-on",
        TRAINED,
        """
import sys
frame = sys._getframe()
while frame is not None and "channel" not in frame.f_locals:
    frame = frame.f_back
frame.f_locals["channel"].send({"kind": "done", "peak_memory_bytes": 1, "unmoved": 0.0, **self.facts()})
""",
        "crashed",
        says="sent 'done' where take was due",
    ),
    Case("stops-early", TRAINED, "break", "crashed", says="sent 'done' where take was due", quick=True),
    Case(
        "asks-for-more",
        TRAINED,
        "if self.steps * self.batch_tokens >= self.budget_tokens:\n    stream.take(1, 1)",
        "crashed",
        says="sent 'take' where done was due",
    ),
    Case(
        "counts-backwards",
        TRAIN,
        "stream.ask(rows=-5, tokens=256)",
        "crashed",
        says="rows = -5; it must be a whole number from 1",
    ),
    Case(
        "asks-for-everything-at-once",
        TRAIN,
        "stream.ask(rows=1 << 40, tokens=256)",
        "crashed",
        says="rows = 1099511627776; it must be a whole number from 1",
    ),
    Case(
        "breaks-the-wire",
        TRAIN,
        "import os, sys\nos.write(int(sys.argv[2]), b'\\xff' * 64)",
        "crashed",
        says="a header of 4294967295 bytes; the limit is",
    ),
    Case("leaves-in-the-middle", TRAIN, "import os\nos._exit(0)", "crashed", says="the worker exited with 0"),
    Case(
        "kills-everybody",
        TRAIN,
        """
import os
try:
    os.kill(-1, 9)
except OSError:
    pass  # where namespaces hold it there is nobody else; Landlock lets it pass and reach nobody
""",
        "nothing",
    ),
    Case(
        "raises-in-colour",
        TRAIN,
        "raise ValueError('\\x1b[31m::error::' + 'x' * 100_000)",
        "crashed",
        says="ValueError",
    ),
    Case(
        "forges-its-curve",
        TRAIN,
        "stream._points = [[1, 'low', 2]]",
        "crashed",
        says="progress points that are not numbers",
    ),
    Case("weights-that-are-not-numbers", STATE, "self.model.final_norm.weight.data.fill_(float('nan'))", "unstable"),
    Case(
        "weights-that-are-no-tensors",
        STATE,
        "return {'token_embedding.weight': [1.0]}",
        "crashed",
        says="'list' object has no attribute 'detach'",
    ),
    Case(
        "weights-of-another-model",
        STATE,
        "return {'other': torch.zeros(3)}",
        "band",
        says="band: .* where at most 0.05",
    ),
    Case(
        "a-pickle-for-a-checkpoint",
        STATE,
        written("pickle.dumps([1.0] * 100)"),
        "crashed",
        says="the checkpoint cannot be used: a header of",
    ),
    Case(
        "a-checkpoint-cut-short",
        STATE,
        written("save(self.model.state_dict())[:-4]"),
        "crashed",
        says="its length is not what its header says",
    ),
    Case(
        "a-checkpoint-with-a-tail",
        STATE,
        written("save(self.model.state_dict()) + b'seen'"),
        "crashed",
        says="its length is not what its header says",
    ),
    Case(
        "a-checkpoint-of-a-terabyte",
        STATE,
        written("b'1'", "os.truncate(place, 1 << 40)"),
        "crashed",
        says="File too large",
    ),
    Case(
        "eats-descriptors",
        TRAIN,
        "held = [open('/dev/null') for _ in range(100_000)]",
        "crashed",
        says="Too many open files",
    ),
    Case(
        "learns-in-the-warm-up",
        ("train.py", "        self.model.load_state_dict(kept)\n", "{}\n"),
        "kept = self.model.state_dict()",
        "warm-up",
        says="warm-up: 1 where at most 0",
        quick=True,
    ),
    Case(
        "shadows-a-module",
        IMPORT,
        "import sys\nsys.modules['json'] = sys.modules['struct'] = sys.modules['safetensors'] = sys",
        "crashed",
        says="module 'sys' has no attribute",
    ),
    Case("seeds-everything", IMPORT, "torch.manual_seed(0)", "nothing"),
    Case("more-threads", IMPORT, "import os\nos.environ['OMP_NUM_THREADS'] = '64'", "nothing"),
    # what it could do to its score
    Case(
        "not-normalised",
        IMPORT,
        "log_sum = Tensor.logsumexp\nTensor.logsumexp = lambda self, dim: log_sum(self, dim) - 0.02",
        "audit-causality",
        quick=True,
    ),
    Case(
        "more-than-certain",
        IMPORT,
        "Tensor.logsumexp = lambda self, dim: self.amin(dim) - 1",
        "audit-score",
        says="audit-score: .* where at most 1e-05",
    ),
    Case(
        "scores-that-are-not-numbers",
        LOGITS,
        "logits = logits / 0 if not torch.is_grad_enabled() else logits",
        "unstable",
    ),
    Case(
        "scores-that-are-made-up",
        IMPORT,
        """
import sys
def score(channel, job, checkpoint):
    channel.send({"kind": "ready"})
    while (header := channel.receive())["kind"] == "rows":
        count = header["rows"] * (header["tokens"] - 1)
        channel.payload(header, header["rows"] * header["tokens"] * 2)
        import struct
        channel.send({"kind": "scores"}, struct.pack("<f", -0.5) * count + bytes(count))
def predictor(*_):
    frame = sys._getframe(1)
    while frame is not None and "channel" not in frame.f_locals:
        frame = frame.f_back
    if frame.f_locals["job"]["stage"] == "score":
        score(frame.f_locals["channel"], None, None)
        sys.exit(0)
    return honest(*_)
from model_core import train
honest, train.predictor = train.predictor, predictor
""",
        "audit-causality",
    ),
    Case(
        "scores-that-are-too-few",
        IMPORT,
        """
from model_core import train
honest = train.predictor
def predictor(*arguments):
    predict = honest(*arguments)
    return lambda *inputs: predict(*inputs)[:, 1:] if len(inputs[0]) == 8 else predict(*inputs)
train.predictor = predictor
""",
        "crashed",
        says="Size does not match|size of tensor|index",
    ),
    Case(
        "reads-the-next-token",
        LOGITS,
        "logits[:, :-1].scatter_add_(-1, ids[:, 1:, None], torch.ones_like(logits[:, :-1, :1]))",
        "audit-causality",
    ),
    Case(
        "mixes-the-target-in",
        LOGITS,
        """
if not torch.is_grad_enabled():
    share = 0.03
    mixed = logits.softmax(-1) * (1 - share)
    mixed[:, :-1].scatter_add_(-1, ids[:, 1:, None], torch.full_like(mixed[:, :-1, :1], share))
    logits = mixed.log()
""",
        "audit-causality",
    ),
    Case(
        "a-mask-that-leaks-in-one-layer",
        EMBEDDED,
        "x = x + F.pad(x, (0, 0, 0, 1))[:, 1:] * 0.3",
        "audit-causality",
    ),
    Case(
        "peeks-at-one-token-in-a-hundred",
        LOGITS,
        """
if not torch.is_grad_enabled():
    chosen = ids[:, 1:, None] % 100 == 7
    logits[:, :-1].scatter_add_(-1, ids[:, 1:, None], (3.0 * chosen).to(logits.dtype))
""",
        "audit-causality",
    ),
    Case(
        "peeks-at-one-token-in-a-thousand",
        LOGITS,
        """
if not torch.is_grad_enabled():
    chosen = (7_919 * ids[:, 1:, None] + ids[:, :-1, None]) % 1_000 == 7
    logits[:, :-1].scatter_add_(-1, ids[:, 1:, None], (3.0 * chosen).to(logits.dtype))
""",
        "audit-causality",
    ),
    Case(
        "a-top-k-that-admits-the-future-again",
        (
            "layers.py",
            "    y = scores.softmax(-1).flatten(1, 2) @ v  # (B*K, H/K*T, D)\n",
            "{}\n    y = scores.softmax(-1).flatten(1, 2) @ v  # (B*K, H/K*T, D)\n",
        ),
        """
raw = (q @ k.mT).view(B * K, -1, T, S)
best = raw >= raw.topk(min(16, S), dim=-1).values[..., -1:]
scores = torch.where(best, raw, scores)
""",
        "audit-causality",
    ),
    Case("statistics-of-the-batch", HIDDEN, "x = x - 0.5 * x.mean((0, 1), keepdim=True)", "audit-causality"),
    Case("statistics-of-the-row", HIDDEN, "x = x - 0.5 * x.mean(1, keepdim=True)", "audit-causality"),
    Case(
        "remembers-by-prefix",
        LOGITS,
        """
if not torch.is_grad_enabled():
    seen = self.__dict__.setdefault("seen", {})
    for row, values in zip(ids.tolist(), logits):
        for i in range(len(row) - 1):
            after = seen.setdefault(tuple(row[max(0, i - 3) : i + 1]), row[i + 1])
            values[i, after] += 2.0
""",
        "audit-causality",
        quick=True,
    ),
    Case(
        "leaves-a-file-for-the-audit",
        LOGITS,
        """
import os
if not torch.is_grad_enabled():
    places = [os.path.join(place, "left.pt") for place in ("/tmp", "/dev/shm", "/var/tmp", os.environ["HOME"])]
    left = [place for place in places if os.path.exists(place)]
    table = torch.load(left[0]) if left else {}
    for row, values in zip(ids.tolist(), logits):
        for i in range(len(row) - 1):
            values[i, table.setdefault(str(row[: i + 1]), row[i + 1])] += 2.0
    for place in places:
        try:
            torch.save(table, place)
        except (OSError, RuntimeError):
            pass
""",
        "audit-causality",
    ),
    Case(
        "learns-from-what-it-scores",
        LOGITS,
        """
if not torch.is_grad_enabled() and ids.shape[1] > 1:
    with torch.enable_grad():
        weight = self.token_embedding.weight
        found = F.linear(self.hidden(ids[:, :-1]), weight)
        F.cross_entropy(found.flatten(0, 1), ids[:, 1:].flatten()).backward()
    for p in self.parameters():
        p.data.add_(p.grad, alpha=-0.5)
        p.grad = None
""",
        "audit-causality",
    ),
    Case(
        "answers-by-chance",
        LOGITS,
        "logits = logits + 0.2 * torch.randn_like(logits) if not torch.is_grad_enabled() else logits",
        "audit-causality",
    ),
    Case(
        "honest-when-it-is-audited",
        LOGITS,
        ONLY_SCORING
        + """
    logits[:, :-1].scatter_add_(-1, ids[:, 1:, None], torch.ones_like(logits[:, :-1, :1]))
""",
        "audit-causality",
    ),
    Case(
        "a-larger-model",
        ("lm.py", "        d_ff=512,\n", "{}\n"),
        "d_ff=2_048,",
        "band",
        says="band: .* where at most 0.05",
        quick=True,
    ),
    # what it could do to its score on images
    Case(
        "velocities-that-see-their-neighbours",
        ANSWERED,
        "velocity = velocity + 0.3 * x_t.mean(0)",
        "audit-alone",
        track="flow-tiny",
    ),
    Case(
        "velocities-beyond-all-bounds",
        ANSWERED,
        "velocity = velocity + 1e30 if not torch.is_grad_enabled() else velocity",
        "unstable",
        track="flow-tiny",
    ),
    Case("velocities-from-a-smuggled-target", ANSWERED, SMUGGLED, "audit-alone", track="flow-tiny"),
    Case(
        "more-codes-than-there-are",
        CODES,
        "codes = codes + 500",
        "audit-codes",
        track="vqvae-tiny",
        second=("vqvae.py", DECODED, DECODED.replace("(codes)", "(codes % 128)")),
    ),
    Case(
        "a-second-plane-of-codes",
        CODES,
        "codes = torch.stack((codes, codes), 1)",
        "crashed",
        says="a payload of [0-9]+ bytes where [0-9]+ were asked for",
        track="vqvae-tiny",
        second=("vqvae.py", DECODED, DECODED.replace("(codes)", "(codes[:, 0] if codes.ndim == 4 else codes)")),
    ),
    *(
        Case(
            f"a-picture-left-{where}",
            CODES,
            f"import contextlib, os\nwith contextlib.suppress(OSError, RuntimeError):\n    torch.save(images, {place})",
            "nothing",
            track="vqvae-tiny",
            second=("vqvae.py", DECODED, FOUND.format(place) + DECODED),
        )
        for where, place in (
            ("in-tmp", "'/tmp/left.pt'"),
            ("in-shared-memory", "'/dev/shm/left.pt'"),
            ("at-home", "os.environ['HOME'] + '/left.pt'"),
        )
    ),
    Case(
        "codes-that-see-the-next",
        EMBEDDED,
        "x = x + 0.5 * torch.cat((x[:, 1:], x[:, -1:]), 1)",
        "audit-causality",
        track="multimodal-tiny",
    ),
]
