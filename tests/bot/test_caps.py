"""What the bot may spend, and that it says so instead of spending more."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

import pytest

from harness.bot.caps import Settings, load, month_of, room
from harness.errors import UsageError
from tests.bot.jobs import job

MONTH = "2026-11"


def settings(price: float | None = 2.0, **caps: float) -> Settings:
    return Settings.model_validate({"price_per_hour": price, "currency": "USD", "caps": caps})


def test_without_a_cap_of_a_kind_there_is_no_limit_of_that_kind() -> None:
    own = job(spent={MONTH: 1e9})
    assert room(settings(author_gpu_s=2e9), [own], own, MONTH) == (1e9, "the cap of an author's month in time")


def test_a_pull_request_is_capped_over_all_months_and_all_of_its_jobs() -> None:
    own = job(spent={"2026-10": 100.0})
    other = job(budget="1M", spent={MONTH: 50.0})
    elsewhere = job(pr=8, spent={MONTH: 500.0})
    left, name = room(settings(pull_request_gpu_s=1_000), [own, other, elsewhere], own, MONTH)
    assert (left, name) == (850.0, "the cap of a pull request in time")


def test_an_author_is_capped_by_month_over_all_pull_requests() -> None:
    own, other = job(spent={"2026-10": 900.0}), job(pr=8, spent={MONTH: 100.0})
    stranger = job(pr=9, author="another", spent={MONTH: 500.0})
    assert room(settings(author_gpu_s=1_000), [own, other, stranger], own, MONTH)[0] == 900.0


def test_a_month_is_capped_for_everybody_together() -> None:
    jobs = [job(pr=number, author=f"a{number}", spent={MONTH: 100.0, "2026-10": 900.0}) for number in range(1, 5)]
    assert room(settings(month_gpu_s=1_000), jobs, jobs[0], MONTH)[0] == 600.0


def test_money_is_time_at_the_price_of_the_machine_and_the_tightest_cap_holds() -> None:
    own = job(spent={MONTH: 1_800.0})  # one of two an hour
    left, name = room(settings(month_cost=3.0, month_gpu_s=1e9, pull_request_cost=2.0), [own], own, MONTH)
    assert (left, name) == (1_800.0, "the cap of a pull request in money")


def test_months_are_those_of_utc() -> None:
    late = datetime.datetime(2026, 11, 30, 23, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=-2)))
    assert month_of(late) == "2026-12"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is missing"),
        ("", "valid dict"),
        ("[bot]\n", "caps"),
        ("[bot]\n[bot.caps]\n", "sets no cap"),
        ("[bot]\n[bot.caps]\nmonth_cost = 5\n", "without a price_per_hour"),
        ("[bot]\n[bot.caps]\nmonth_gpu_s = nan\n", "finite"),
        ("[bot]\n[bot.caps]\nmonth_gpu_s = -1\n", "greater than or equal"),
        ("[bot]\n[bot.caps]\nmonth_gpu = 1\n", "month_gpu"),
        ("[bot", "cannot be read"),
    ],
)
def test_settings_that_limit_nothing_are_refused_and_say_what_is_wrong(
    tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "blueberry.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert said in str(caught.value) and caught.value.faults[0].fix


def test_the_mend_of_a_missing_cap_names_the_file_and_its_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    keys = tomllib.loads((Path(__file__).parents[2] / "blueberry.toml").read_text())["bot"]["caps"]
    assert all(word in caught.value.faults[0].fix for word in ("[bot.caps] into blueberry.toml", *keys))


def test_the_settings_of_this_repository_are_valid() -> None:
    assert load(Path(__file__).parents[2]).cost(3_600) == 2.5
