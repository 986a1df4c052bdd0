"""What the bot may spend: the [bot] table of blueberry.toml, and what is left of it."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.bot.queue import Job
from harness.errors import UsageError

FILE = "blueberry.toml"
Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Caps(_Closed):
    """Most that may be spent, in seconds of this machine or in money. None: no such cap."""

    pull_request_gpu_s: Limit | None = None
    author_gpu_s: Limit | None = None  # of a pull request, in a calendar month (UTC)
    month_gpu_s: Limit | None = None
    pull_request_cost: Limit | None = None
    author_cost: Limit | None = None
    month_cost: Limit | None = None


class Settings(_Closed):
    """The [bot] table."""

    price_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # of this machine
    currency: Annotated[str, Field(pattern="^[A-Z]{0,3}$")] = ""
    login: str | None = None  # of the bot, where its token is an App's other than the workflows'
    caps: Caps

    def cost(self, seconds: float | None) -> float | None:
        return None if seconds is None or self.price_per_hour is None else seconds / 3600 * self.price_per_hour


def load(root: Path) -> Settings:
    """The settings of this clone; raises UsageError. Without caps nothing is spent."""
    path = root / FILE
    fix = f"write [bot.caps] into {FILE} with one of {', '.join(Caps.model_fields)}; CONTRIBUTING.md explains the keys"
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("bot")
    except FileNotFoundError:
        raise UsageError(FILE, "is missing, so there is no limit to what the bot might spend", fix) from None
    except ValueError as error:
        raise UsageError(FILE, f"cannot be read: {error}", fix) from None
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        detail = error.errors()[0]
        spot = ".".join(str(part) for part in detail["loc"])
        raise UsageError(f"{FILE} [bot] {spot}".rstrip(), detail["msg"], fix) from None
    caps = settings.caps
    if settings.price_per_hour is None and any((caps.pull_request_cost, caps.author_cost, caps.month_cost)):
        raise UsageError(f"{FILE} [bot]", "caps money without a price_per_hour", "add the price of this machine")
    if not any(value is not None for value in caps.model_dump().values()):
        raise UsageError(f"{FILE} [bot.caps]", "sets no cap", fix)
    return settings


def month_of(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m")


def room(settings: Settings, jobs: Iterable[Job], job: Job, month: str) -> tuple[float, str]:
    """Seconds that may still be spent on this job, and the cap that says so; infinite where none does."""
    pull = author = everyone = 0.0
    for other in jobs:
        now = other.spent.get(month, 0.0)
        pull += other.seconds if other.pr == job.pr else 0.0
        author += now if other.author == job.author else 0.0
        everyone += now
    caps, price = settings.caps, settings.price_per_hour or 1.0
    limits = (
        (caps.pull_request_gpu_s, pull, "the cap of a pull request in time"),
        (caps.author_gpu_s, author, "the cap of an author's month in time"),
        (caps.month_gpu_s, everyone, "the cap of a month in time"),
        (_seconds(caps.pull_request_cost, price), pull, "the cap of a pull request in money"),
        (_seconds(caps.author_cost, price), author, "the cap of an author's month in money"),
        (_seconds(caps.month_cost, price), everyone, "the cap of a month in money"),
    )
    left = [(limit - spent, name) for limit, spent, name in limits if limit is not None]
    return min(left, default=(float("inf"), ""))


def _seconds(cost: float | None, price_per_hour: float) -> float | None:
    return None if cost is None else cost / price_per_hour * 3600
