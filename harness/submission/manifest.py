"""submission.toml: what a submission says of itself. Read from strangers, so every value has a form and a limit."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from harness.errors import Fault, SubmissionError
from harness.records.record import Claim
from harness.rules import MAX_MANIFEST_KIB, fault
from harness.submission.files import decode, hidden_fault, is_hidden, name_of, place, read_hostile
from harness.submission.root import SLUG, is_slug
from harness.tracks import BUDGETS, TRACKS

FILE = "submission.toml"
MAX_FAULTS = 10  # a list of 10,000 wrong values is one mistake, not 10,000
MAX_LINE = 2_400  # characters; tomllib needs seconds for a dotted key of 10,000 parts, and a key is one line

_TOML_LINE = re.compile(r" ?\(at line (\d+), column \d+\)")
_SHA256 = "[0-9a-f]{64}"


def _visible(text: str) -> str:
    for character in text:
        if character != "\n" and is_hidden(character):
            raise PydanticCustomError("hidden", "holds {name}", {"name": name_of(character)})
    if not text.strip():
        raise PydanticCustomError("blank", "is blank")
    return text


def _one_line(text: str) -> str:
    if "\n" in text:
        raise PydanticCustomError("lines", "has to be one line")
    return _visible(text)


Title = Annotated[str, Field(max_length=120), AfterValidator(_one_line)]
Name = Annotated[str, Field(max_length=80), AfterValidator(_one_line)]
Reference = Annotated[str, Field(max_length=300), AfterValidator(_one_line)]
Idea = Annotated[str, Field(max_length=2_000), AfterValidator(_visible)]
Link = Annotated[str, StringConstraints(max_length=200, pattern=r"^https?://[A-Za-z0-9._~:/?#@!$&*+,;=%-]+$")]
Slug = Annotated[str, StringConstraints(pattern=f"^{SLUG.pattern}$")]
Parent = Annotated[str, StringConstraints(pattern=f"^{SLUG.pattern}@{_SHA256}$")]
Digest = Annotated[str, StringConstraints(pattern=f"^({_SHA256})?$")]
Requirement = Annotated[str, StringConstraints(pattern=r"^(cuda|sm_[0-9]{2,3})$")]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Author(_Closed):
    """Who had the idea."""

    name: Name = Field(description="name or handle")
    link: Link | None = Field(None, description="https address of a profile")


class Manifest(_Closed):
    """A valid submission.toml."""

    title: Title = Field(description="one line for the board")
    authors: tuple[Author, ...] = Field(min_length=1, max_length=16, description="who had the idea")
    idea: Idea = Field(description="one paragraph: what changes, and why it should help")
    claims: tuple[Claim, ...] = Field(min_length=1, max_length=16, description="what it improves, and where")
    base: Digest = Field("", description="digest of the core it was packed against; written by `blueberry pack`")
    builds_on: tuple[Parent, ...] = Field(
        (), max_length=8, description="slug@sha256 of each patch below this one, in the order in which they apply"
    )
    supersedes: Slug | None = Field(None, description="slug of the submission that this one replaces")
    requires: tuple[Requirement, ...] = Field((), max_length=4, description='"cuda", or a capability such as "sm_89"')
    references: tuple[Reference, ...] = Field((), max_length=32, description="papers and sources")


# What each pattern asks for, in words.
_FORMS = {
    "base": 'the digest that `blueberry pack` writes, or ""',
    "builds_on": '"slug@sha256 of its patch.diff"',
    "supersedes": "a slug: 3 to 40 characters from a-z, 0-9 and -",
    "requires": '"cuda", or a compute capability such as "sm_89"',
    "link": "an address that begins with https://",
    "metric": '"loss" or "speed"',
}


def load_manifest(folder: Path) -> Manifest:
    """Read and check `folder`/submission.toml; raises SubmissionError with every fault that it finds."""
    where = place(folder, FILE)
    if not is_slug(folder.name):
        raise SubmissionError(fault("manifest-slug", f"{folder.parent.name}/", f"the folder is named {folder.name!r}"))
    content = read_hostile(folder, FILE, "manifest", MAX_MANIFEST_KIB * 1024)
    return parse_manifest(decode(content, where, "manifest"), where)


def parse_manifest(text: str, where: str = FILE) -> Manifest:
    """The manifest that `text` holds; raises SubmissionError with every fault that it finds."""
    text = text.replace("\r\n", "\n")
    values = _toml(text, where)
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        details = _told(error.errors(include_url=False))
        raise SubmissionError(*(_fault(detail, text, where) for detail in details[:MAX_FAULTS])) from None
    faults = list(_claim_faults(manifest, text, where))
    if faults:
        raise SubmissionError(*faults)
    return manifest


def json_schema() -> dict[str, Any]:
    """The JSON schema of submission.toml, for editors; the known tracks and budgets are enumerated in it."""
    schema = Manifest.model_json_schema()
    claim = schema["$defs"]["Claim"]["properties"]
    claim["track"]["enum"] = list(TRACKS)
    claim["budget"]["enum"] = [budget.name for budget in BUDGETS.values() if budget.listed]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _toml(text: str, where: str) -> dict[str, Any]:
    hidden = hidden_fault(text, where, "manifest")
    if hidden:
        raise SubmissionError(hidden)
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            what = f"is a line of {len(line)} characters; the limit is {MAX_LINE}"
            raise SubmissionError(fault("manifest-size", f"{where}:{number}", what))
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SubmissionError(fault("manifest-toml", where, "is nested too deeply to be read")) from None
    except ValueError as error:
        message = str(error)
        found = _TOML_LINE.search(message)
        spot = f"{where}:{found[1]}" if found else where
        said = _TOML_LINE.sub("", message)
        what = "the same key stands there twice" if said == "Cannot overwrite a value" else f"is not TOML: {said}"
        raise SubmissionError(fault("manifest-toml", spot, what)) from None


def _told(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without "too short" for a list whose entries were refused one by one."""
    inside = {detail["loc"][0] for detail in details if len(detail["loc"]) > 1}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"][0] not in inside]


def _fault(detail: ErrorDetails, text: str, where: str) -> Fault:
    """One pydantic error in our words. The value itself is shown only where it is short."""
    location = detail["loc"]
    spot = _spot(location, text, where)
    name = str(location[-1])[:40] if isinstance(location[-1], str) else str(location[0])[:40]
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown_key(location, spot)
    if kind in ("missing", "too_short"):
        return fault("manifest-missing-key", spot, f"has no `{name}`" if kind == "missing" else f"`{name}` is empty")
    if kind in ("too_long", "string_too_long"):
        limit = detail["ctx"]["max_length"]
        unit = "characters" if kind == "string_too_long" else "entries"
        return fault("manifest-size", spot, f"`{name}` has more than {limit} {unit}")
    if kind in ("hidden", "blank", "lines"):
        rule = "manifest-characters" if kind == "hidden" else "manifest-value"
        return fault(rule, spot, f"`{name}` {detail['msg']}")
    rule = "manifest-claim" if name == "metric" and kind == "literal_error" else "manifest-value"
    form = _FORMS.get(name, _expected(kind))
    return fault(rule, spot, f"`{name}` is {_shown(detail['input'])}", f"write {form}")


def _expected(kind: str) -> str:
    kinds = {"string_type": "text in quotes", "tuple_type": "a list", "model_type": "a table of keys"}
    return kinds.get(kind, "it as in the file that `blueberry new` writes")


def _shown(value: object) -> str:
    if isinstance(value, str):
        return ascii(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, float):
        return f"the number {value}"
    kinds = {int: "a whole number", list: "a list", dict: "a table"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _unknown_key(location: tuple[int | str, ...], spot: str) -> Fault:
    models: dict[str | int, type[BaseModel]] = {"authors": Author, "claims": Claim}
    model = models.get(location[0], Manifest) if len(location) > 1 else Manifest
    key = str(location[-1])
    fields = list(model.model_fields)
    near = difflib.get_close_matches(key[:40], fields, n=1, cutoff=0.4)
    if key in Manifest.model_fields:
        fix = f"move the line with `{key}` above the first [[{location[0]}]]: TOML reads it as part of that table"
    else:
        fix = f"{f'did you mean `{near[0]}`?' if near else 'delete it.'} The keys here are {', '.join(fields)}"
    return fault("manifest-unknown-key", spot, f"there is no key {key[:40]!a}", fix)


def _claim_faults(manifest: Manifest, text: str, where: str) -> Iterator[Fault]:
    seen: set[Claim] = set()
    listed = [name for name, budget in BUDGETS.items() if budget.listed]
    for at, claim in enumerate(manifest.claims):
        for key, value, known in (("track", claim.track, list(TRACKS)), ("budget", claim.budget, listed)):
            if value not in (TRACKS if key == "track" else BUDGETS):
                spot = _spot(("claims", at, key), text, where)
                near = difflib.get_close_matches(value[:40], known, n=1)
                fix = f"{f'did you mean {near[0]}? ' if near else ''}The known ones are {', '.join(known)}"
                yield fault("manifest-claim", spot, f"there is no {key} {_shown(value)}", fix)
        if claim in seen:
            spot = _spot(("claims", at), text, where)
            yield fault("manifest-claim", spot, "the same claim stands there twice", "delete one of them")
        seen.add(claim)


def _spot(location: tuple[int | str, ...], text: str, where: str) -> str:
    """File, line and key of a value: the line is that of the key, or of the table that should hold it."""
    lines = text.split("\n")
    line = None
    start = 0
    key = str(location[0])
    if len(location) > 1 and isinstance(location[1], int):
        headers = [
            at for at, line_text in enumerate(lines) if re.match(rf"\s*\[\[\s*{re.escape(key)}\s*\]\]", line_text)
        ]
        if location[1] < len(headers):
            line = start = headers[location[1]]
            key = str(location[2]) if len(location) > 2 else key
    pattern = re.compile(rf"\s*\"?{re.escape(key)}\"?\s*[=.]|\s*\[+\s*\"?{re.escape(key)}\"?\s*[\].]")
    line = next((at for at in range(start, len(lines)) if pattern.match(lines[at])), line)
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    short = ascii(dotted.lstrip(".")[:60])[1:-1]
    return f"{where}:{line + 1} ({short})" if line is not None else f"{where} ({short})"
