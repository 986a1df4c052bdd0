"""Verbs that tell what there is: tracks, doctor."""

from __future__ import annotations

from dataclasses import asdict

from harness.cli.surface import Json, Said, app, root


@app.command()
def tracks(as_json: Json = False) -> Said:
    """The tracks and budgets that can be raced."""
    from harness.tracks import BUDGETS, TRACKS

    listed = [budget for budget in BUDGETS.values() if budget.listed]
    lines = [f"{track.name:<15}  {track.summary}; scored in {track.unit}" for track in TRACKS.values()]
    lines += ["", "budget     tokens          pairs at most   to confirm"]
    lines += [f"{b.name:<8}   {b.tokens:>13,}   {b.max_pairs:>13}   {b.confirm_pairs:>10}" for b in listed]
    data = {"tracks": [asdict(track) for track in TRACKS.values()], "budgets": [asdict(budget) for budget in listed]}
    return Said("\n".join(lines), {"ok": True, **data})


@app.command()
def doctor(as_json: Json = False) -> Said:
    """What this machine can do: devices, precision, memory, sandbox, data, and what to install."""
    from harness.data.cache import cache_root
    from harness.run.doctor import examine

    findings = examine(root(), cache_root())
    lines = [
        f"{'ok ' if f.ok else 'NO '} {f.subject:<10}  {f.found}" + (f"\n     mend: {f.fix}" if f.fix else "")
        for f in findings
    ]
    ok = all(finding.ok for finding in findings)
    return Said("\n".join(lines), {"ok": ok, "findings": [asdict(f) for f in findings]}, 0 if ok else 3)
