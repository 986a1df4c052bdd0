"""How often is a patch without a gain accepted? Null submissions through the real command line, at smoke.

The arms of each evaluation truly differ: three in four re-key the initialisation (the same distribution, other draws),
the others rewrite a sum or a product so that it rounds differently. None can be a gain, so every acceptance is false.
Prints the count and the upper 95 % bound that it gives (Clopper and Pearson 1934). Every processor works through a
share of them in a folder of its own: losses alone matter here, so nothing is lost by running side by side. Resumes:

    python benchmarks/nulls.py FOLDER [COUNT]        COUNT: 40 by default, about two minutes each on two cores
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scipy.stats import beta

ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).parent / "blueberry"
DRAW = ("lm.py", 'layers.generator(seed, "init", name)', 'layers.generator(seed, "init, draw {i}", name)')
PIECES = ("layers.py", "rows: int = 512", "rows: int = {rows}")
SCALE = ("layers.py", "q = (q * D**-0.5).view(", "q = (q * D**-0.25 * D**-0.25).view(")
REWRITES = (
    *((*PIECES[:2], PIECES[2].format(rows=rows)) for rows in (64, 96, 128, 192, 256, 320, 384, 448, 768)),
    SCALE,
)


def edit_of(i: int) -> tuple[str, str, str]:
    """File, old text and new text of the i-th null."""
    if i % 4 == 3:
        return REWRITES[i // 4 % len(REWRITES)]
    return DRAW[0], DRAW[1], DRAW[2].format(i=i)


def blueberry(folder: Path, cpu: int, *arguments: str) -> dict[str, object]:
    command = ["taskset", "--cpu-list", str(cpu), COMMAND, *arguments, "--json"]
    with open(folder / "progress.log", "a") as log:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def submit(folder: Path, cpu: int, slug: str, edit: tuple[str, str, str]) -> None:
    name, old, new = edit
    blueberry(folder, cpu, "new", slug)
    path = folder / "submissions" / slug / "core" / name
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} in {name}"
    path.write_text(text.replace(old, new))
    blueberry(folder, cpu, "pack", slug)


def evaluate(folder: Path, cpu: int, nulls: range) -> list[str]:
    """The verdict of each of these nulls; a finished evaluation answers at once."""
    if not folder.exists():
        shutil.copytree(ROOT / "model_core", folder / "model_core", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "leaderboard", folder / "leaderboard")
        (folder / "submissions").mkdir()
    verdicts = []
    for i in nulls:
        slug = f"null-{i:02d}"
        if not (folder / "submissions" / slug / "patch.diff").exists():
            submit(folder, cpu, slug, edit_of(i))
        verdicts.append(str(blueberry(folder, cpu, "run", slug)["verdict"]))
        print(f"{slug}: {verdicts[-1]}", flush=True)
    return verdicts


def main() -> None:
    folder = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    cpus = sorted(os.sched_getaffinity(0))
    with ThreadPoolExecutor(len(cpus)) as pool:
        shares = [(folder / f"cpu-{cpu}", cpu, range(k, count, len(cpus))) for k, cpu in enumerate(cpus)]
        verdicts = [verdict for share in pool.map(lambda share: evaluate(*share), shares) for verdict in share]
    # an acceptance that the confirmation took back is still one of the first round
    accepted = sum(verdict in ("CONFIRMED", "REVOKED", "ACCEPT_LOSS") for verdict in verdicts)
    bound = beta.ppf(0.95, accepted + 1, count - accepted) if accepted < count else 1.0
    confirmed = verdicts.count("CONFIRMED")
    print(f"accepted {accepted} of {count} nulls (confirmed {confirmed}); upper 95 % bound {bound:.3f}")


if __name__ == "__main__":
    main()
