"""Verbs on the folder of a submission: new, edit, pack, check, rebase."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from harness.cli.surface import Json, Said, Slug, app, root, say


@app.command()
def new(slug: Slug, as_json: Json = False) -> Said:
    """Start a submission: a valid folder and a scratch copy of the core to edit."""
    from harness.submission import scratch

    made = scratch.new(root(), slug)
    text = (
        f"made {made.folder}\n"
        f"  1. edit {made.scratch}/ (your own copy of the core)\n"
        f"  2. blueberry try {slug}     packs your change, checks it, trains it against the core and explains\n"
        "  3. say in submission.toml and README.md what it is and whose: people read them before anything is run"
    )
    return Said(text, {"ok": True, "slug": slug, "folder": str(made.folder), "scratch": str(made.scratch)})


@app.command()
def edit(slug: Slug, as_json: Json = False) -> Said:
    """Rebuild the scratch copy of the core from the patch."""
    from harness.submission import scratch

    made = scratch.edit(root(), slug)
    data = {"ok": True, "slug": slug, "scratch": str(made.scratch)}
    return Said(f"edit {made.scratch}/, then: blueberry pack {slug}", data)


@app.command()
def pack(slug: Slug, as_json: Json = False) -> Said:
    """Turn the scratch copy into patch.diff."""
    from harness.submission import scratch

    packed = scratch.pack(root(), slug)
    data = {"ok": True, "slug": slug, "patch_sha": packed.patch_sha, "added": packed.added, "removed": packed.removed}
    return Said(f"{packed.patch}  +{packed.added} -{packed.removed}", data)


@app.command()
def check(
    slug: Slug,
    probe: Annotated[bool, typer.Option("--probe", help="Also build, train for seconds and audit its models.")] = False,
    as_json: Json = False,
) -> Said:
    """Hold a submission to every rule, in a second, without running any of it."""
    from harness.submission.patch import check as check_folder
    from harness.submission.root import find_folder

    if probe:
        from harness.run import sandbox

        sandbox.require_in_ci()
    here = root()
    folder = find_folder(here, slug)
    result = check_folder(here, folder)
    if probe and result.ok:
        from harness.run.probe import probe as probed

        faults = tuple(probed(here, folder, say))
        result = replace(result, ok=not faults, faults=faults)
    lines = [str(fault) for fault in result.faults] + [f"warning: {warning}" for warning in result.warnings]
    if result.ok:
        lines.append(f"{result.slug}: every rule holds, +{result.added} -{result.removed} lines")
    return Said("\n".join(lines), result.to_json(), 0 if result.ok else 1)


@app.command()
def rebase(slug: Slug, as_json: Json = False) -> Said:
    """Move a stale patch to today's core by a 3-way merge in the scratch copy."""
    from harness.rules import fault
    from harness.submission import scratch

    moved = scratch.rebase(root(), slug)
    faults = [fault("patch-conflict", name, "needs your decision") for name in moved.conflicts]
    data = {
        "ok": not faults,
        "slug": slug,
        "moved": moved.moved,
        "conflicts": list(moved.conflicts),
        "dropped": list(moved.dropped),
        "patch_sha": moved.packed.patch_sha if moved.packed else None,
        "faults": [one.to_json() for one in faults],
    }
    lines = [f"{parent.partition('@')[0]} is part of the core now: left out of builds_on" for parent in moved.dropped]
    if moved.conflicts:
        lines += ["resolve the conflict markers in", *(f"  {name}" for name in moved.conflicts)]
        return Said("\n".join([*lines, f"then: blueberry pack {slug}"]), data, 1)
    if moved.packed is None:
        return Said(f"{slug} is on today's core already", data)
    lines.append(f"{slug} is on today's core, +{moved.packed.added} -{moved.packed.removed} lines")
    lines.append(f"next: blueberry run {slug}; on a core that has moved this is no second try")
    return Said("\n".join(lines), data)
