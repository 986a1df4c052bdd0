import hashlib
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import MachineError
from harness.run import seeds


def test_a_seed_is_the_published_formula() -> None:
    text = "salt|llm-tiny|smoke|abc|decide|3"
    assert seeds.seed("salt", "llm-tiny", "smoke", "abc", "decide", 3) == int(
        hashlib.sha256(text.encode()).hexdigest()[:8], 16
    )


def test_the_seeds_of_deciding_and_confirming_never_meet() -> None:
    for _ in range(50):
        salt = seeds.new_salt("llm-tiny", "smoke", "abc", 24)
        drawn = [seeds.seed(salt, "llm-tiny", "smoke", "abc", r, i) for r in ("decide", "confirm") for i in range(24)]
        assert len(set(drawn)) == 48


@given(st.text(min_size=1, max_size=20))
def test_the_order_alternates_after_one_coin(salt: str) -> None:
    order = [seeds.core_first(salt, "decide", pair) for pair in range(10)]
    assert order in ([True, False] * 5, [False, True] * 5)


def test_the_coin_is_fair_enough() -> None:
    heads = sum(seeds.core_first(f"salt {i}", "decide", 0) for i in range(2_000))
    assert 900 < heads < 1_100


def test_a_salt_is_kept_for_the_owner_alone_until_it_is_published(tmp_path: Path) -> None:
    salt = seeds.new_salt("t", "b", "p", 2)
    seeds.keep(tmp_path, "e", salt)
    path = next((tmp_path / ".blueberry" / "salts").iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert seeds.recall(tmp_path, "e", seeds.digest(salt)) == salt
    seeds.forget(tmp_path, "e")
    with pytest.raises(MachineError, match="salt is not on this machine"):
        seeds.recall(tmp_path, "e", seeds.digest(salt))


def test_a_salt_that_was_cut_short_or_has_changed_is_named(tmp_path: Path) -> None:
    salt = "5" * 64
    seeds.keep(tmp_path, "e", salt)
    path = next((tmp_path / ".blueberry" / "salts").iterdir())
    whole = path.read_bytes()
    flipped = (whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :] for at in range(len(whole)))
    for damaged in (*(whole[:length] for length in range(64)), *flipped):
        path.write_bytes(damaged)
        with pytest.raises(MachineError, match="salt is damaged"):
            seeds.recall(tmp_path, "e", seeds.digest(salt))


def test_another_salt_than_the_frozen_one_is_refused(tmp_path: Path) -> None:
    seeds.keep(tmp_path, "e", "another")
    with pytest.raises(MachineError):
        seeds.recall(tmp_path, "e", seeds.digest("frozen"))
