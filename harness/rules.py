"""The rules that submissions are held to, as data: checks raise them by id; CONTRIBUTING shows them as a table."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import Fault, UsageError

MAX_CHANGED_LINES = 400
MAX_COMPRESSED_KIB = 48
MAX_LITERAL_CHARACTERS = 512
COUNTED_LITERAL_CHARACTERS = 16  # a shorter literal is a name, a number or a shape
MAX_LITERALS_CHARACTERS = 2_048  # of all counted literals together; the largest module of the core has 307
# what the added lines may come to when they are compressed: code takes about 20 bytes a line, a table 400
MAX_ADDED_BYTES, MAX_ADDED_BYTES_PER_LINE = 768, 20
MAX_MANIFEST_KIB = 64

BEGIN = "<!-- rules: begin (rendered from harness/rules.py) -->"
END = "<!-- rules: end -->"

GROUPS = {
    "manifest": "Refused before anything runs: submission.toml",
    "patch": "Refused before anything runs: patch.diff",
    "pull": "Refused before anything runs: the pull request",
    "run": "Refused while it runs",
    "audit": "Refused after training",
}


@dataclass(frozen=True)
class Rule:
    """One rule. `id` is what JSON, run files and tests name; it never changes its meaning."""

    id: str
    group: str  # a key of GROUPS
    title: str  # what is refused
    why: str
    fix: str  # the usual mend; a fault may give a closer one


_RULES = (
    Rule(
        "manifest-missing",
        "manifest",
        "no readable submission.toml",
        "the claim has to be written down before it is measured",
        "`blueberry new SLUG` writes a valid one",
    ),
    Rule(
        "manifest-size",
        "manifest",
        f"a manifest over {MAX_MANIFEST_KIB} KiB, or a value over its own limit",
        "people read it, and tables show it",
        "shorten it; long explanations go into README.md",
    ),
    Rule(
        "manifest-encoding",
        "manifest",
        "a manifest that is not UTF-8",
        "it could not be shown as it was written",
        "save the file as UTF-8",
    ),
    Rule(
        "manifest-characters",
        "manifest",
        "control, bidirectional, zero-width or other invisible characters",
        "what reviewers see must be what is there",
        "delete the character; retype the text rather than pasting it",
    ),
    Rule(
        "manifest-toml",
        "manifest",
        "text that is not valid TOML: a syntax error, a doubled key, endless nesting",
        "two readers could understand it differently",
        "mend the line that is named; compare with the file that `blueberry new` writes",
    ),
    Rule(
        "manifest-unknown-key",
        "manifest",
        "a key that does not exist",
        "a misspelt key would be ignored in silence",
        "use the key that is named as nearest, or delete this one",
    ),
    Rule(
        "manifest-missing-key",
        "manifest",
        "a required key that is missing",
        "title, authors, idea and at least one claim stand on the board",
        "add the key",
    ),
    Rule(
        "manifest-value",
        "manifest",
        "a value of the wrong type or form",
        "it is read by programs",
        "write it in the form that is named",
    ),
    Rule(
        "manifest-claim",
        "manifest",
        "a claim on an unknown track, budget or metric, or the same claim twice",
        "the number of claims sets the error rate of each",
        "claim one of the known ones; `blueberry tracks` lists them",
    ),
    Rule(
        "manifest-slug",
        "manifest",
        "a folder name that is not a slug, or is taken",
        "the name becomes an arm, file names and links",
        "3 to 40 characters from a-z, 0-9 and -, no hyphen at either end, not `core`",
    ),
    Rule(
        "manifest-base",
        "manifest",
        "a patch with no `base`",
        "a verdict belongs to the core that it was measured on",
        "`blueberry pack SLUG` writes it",
    ),
    Rule(
        "manifest-builds-on",
        "manifest",
        "`builds_on` names a patch that is not here, has changed, or does not apply",
        "the verdict reads 'this patch, given those'",
        "name the submission as slug@sha256 of its present patch.diff, in the order in which they apply;"
        " `blueberry rebase SLUG` brings the names up to date and leaves out what has become core",
    ),
    Rule(
        "patch-missing",
        "patch",
        "no readable patch.diff",
        "the patch is the submission",
        "edit the scratch copy in core/, then `blueberry pack SLUG`",
    ),
    Rule(
        "patch-empty",
        "patch",
        "an empty patch",
        "there is nothing to measure",
        "edit the scratch copy in core/, then `blueberry pack SLUG`",
    ),
    Rule(
        "patch-encoding",
        "patch",
        "a patch that is not UTF-8, or a file that declares another encoding",
        "it could not be reviewed: Python would run something else than what is shown",
        "save the edited files as UTF-8, without a line that names another, then `blueberry pack SLUG`",
    ),
    Rule(
        "patch-characters",
        "patch",
        "control, bidirectional, zero-width or other invisible characters, carriage returns included",
        "what reviewers see must be what runs",
        'write the character as an escape ("\\u200b") or delete it; lines end in \\n alone',
    ),
    Rule(
        "patch-format",
        "patch",
        "anything but a plain git unified diff",
        "two readers could understand it differently",
        "let `blueberry pack SLUG` write patch.diff, and do not edit it by hand",
    ),
    Rule(
        "patch-outside",
        "patch",
        "a path outside model_core/",
        "data, order, budget, scoring and clock are the harness's",
        "change files of model_core/ only; a change of the harness is a pull request of its own",
    ),
    Rule(
        "patch-traversal",
        "patch",
        "`..`, an absolute path, or a path that is not in its simplest form",
        "it would reach outside the copy of the core",
        "write paths as model_core/NAME.py",
    ),
    Rule(
        "patch-quoted",
        "patch",
        "a quoted path (git quotes spaces, octal escapes and the like)",
        "the same file could be named in several ways",
        "name files with a-z, 0-9 and _",
    ),
    Rule(
        "patch-file",
        "patch",
        "a file that is not a plain lower-case Python module: data, .pth, sitecustomize, a workflow",
        "only modules that the core imports belong to an experiment",
        "put the code into a .py module of model_core/",
    ),
    Rule(
        "patch-rename",
        "patch",
        "a rename or a copy",
        "the reviewer has to see every line that is new",
        "let `blueberry pack SLUG` write it as a deletion and a new file",
    ),
    Rule("patch-symlink", "patch", "a symbolic link", "it may point anywhere", "add the file itself"),
    Rule("patch-submodule", "patch", "a git submodule", "its content is not in the patch", "add the files themselves"),
    Rule(
        "patch-mode",
        "patch",
        "a file mode other than 100644, or a change of mode",
        "modules are imported, never executed as programs",
        "leave the mode alone: `chmod 644`",
    ),
    Rule("patch-binary", "patch", "a binary hunk", "it cannot be reviewed", "write it as Python source"),
    Rule(
        "patch-contract",
        "patch",
        "deletion of a file that a track imports",
        "the harness calls the core through these files",
        "empty what you do not need, but keep the module",
    ),
    Rule(
        "patch-lines",
        "patch",
        f"more than {MAX_CHANGED_LINES} changed lines",
        "as little code as possible: a small patch can be understood, and it can be believed",
        "keep the one idea; take out renames, reformatting and options",
    ),
    Rule(
        "patch-size",
        "patch",
        f"a patch over {MAX_COMPRESSED_KIB} KiB compressed",
        "code is small; data is large",
        "leave data out of the patch",
    ),
    Rule(
        "patch-literal",
        "patch",
        f"a literal, or a single line, that gains more than {MAX_LITERAL_CHARACTERS} characters",
        "a table of constants can hold what training should have learnt",
        "compute the values, or shorten the text",
    ),
    Rule(
        "patch-table",
        "patch",
        f"literals of {COUNTED_LITERAL_CHARACTERS} or more characters that gain more than {MAX_LITERALS_CHARACTERS:,} "
        f"characters together, or added lines that compress to more than {MAX_ADDED_BYTES} bytes and "
        f"{MAX_ADDED_BYTES_PER_LINE} for each of them",
        "a table that is cut into short pieces holds as much; names and comments can hold one too",
        "compute the values; break long lines, and shorten comments and names",
    ),
    Rule(
        "patch-syntax",
        "patch",
        "a patched file that Python cannot parse",
        "it would crash after the money is spent",
        "mend the file in core/, then `blueberry pack SLUG`",
    ),
    Rule(
        "patch-conflict",
        "patch",
        "conflict markers in the scratch copy",
        "a rebase is waiting for your decision",
        "choose between the two sides, delete the markers, then `blueberry pack SLUG`",
    ),
    Rule(
        "patch-stale",
        "patch",
        "a patch that does not fit today's core, line for line",
        "a patch applied with fuzz or at another place is another experiment",
        "`blueberry rebase SLUG`",
    ),
    Rule(
        "patch-no-change",
        "patch",
        "a patch after which the core is the same",
        "there is nothing to measure",
        "edit the scratch copy in core/, then `blueberry pack SLUG`",
    ),
    Rule(
        "pull-outside",
        "pull",
        "a change outside submissions/<slug>/, or of more than one submission",
        "a submission is one folder; everything else is the harness, and a pull request of its own",
        "leave one folder in the pull request: `git diff --stat main...` shows what it changes",
    ),
    Rule(
        "pull-file",
        "pull",
        "a file that no submission has, a link, a submodule, an executable, or one that is too large",
        "everything in a pull request is read by a person before it is run",
        "keep submission.toml, patch.diff and README.md, as plain files",
    ),
    Rule(
        "pull-artifact",
        "pull",
        "a result or bundle that is not what the bot writes, or belongs to another commit",
        "it comes from a machine that ran a stranger's code",
        "let the bot write it again; nothing of it was used",
    ),
    Rule(
        "crashed",
        "run",
        "an arm that crashes twice",
        "there is no loss to compare",
        "`blueberry try SLUG` shows the end of its output",
    ),
    Rule(
        "timed-out",
        "run",
        "an arm that passes a time limit twice",
        "a run has to end",
        "make set-up, training or scoring faster; the report says which stage it was",
    ),
    Rule(
        "diverged",
        "run",
        "a loss that is not finite",
        "there is nothing to compare",
        "lower the learning rate, or bound the new quantity",
    ),
    Rule(
        "checkpoint-invalid",
        "run",
        "a checkpoint that is not plain safetensors of float weights without gaps, or is over its size limit",
        "the judge reads nothing that could run code",
        "return the model's own state_dict from Trainer.state()",
    ),
    Rule(
        "band",
        "run",
        "more than 5 % more or fewer parameters than the core, whose embedding is left out of the count",
        "a larger model is another race",
        "narrow one part where you widen another",
    ),
    Rule(
        "band-active",
        "run",
        "more than 5 % more or fewer parameters than the core among those that one token goes through",
        "a model that does more work for each token is another race, whatever it keeps in store",
        "narrow one part, or send a token to fewer experts, where you widen another",
    ),
    Rule(
        "drawn-twice",
        "run",
        "a second measurement of one contest, or one that was held to less than its earlier tries ask for",
        "who may draw again until it is luck wins in the end",
        "nothing is to mend: the first draw counts, whichever way it went",
    ),
    Rule(
        "warm-up",
        "audit",
        "weights, optimizer, average or random state that are not, after the warm-up, what they were before it",
        "what is learnt before the clock starts is not paid for",
        "restore all of them at the end of Trainer.warm_up(), new state of your own included",
    ),
    Rule(
        "audit-score",
        "audit",
        "scores that are positive, not finite, or too few or too many",
        "a log-probability is at most zero, and every token has one",
        "return plain logits, one row per input token",
    ),
    Rule(
        "audit-causality",
        "audit",
        "a prediction that changes when the future, the batch or the order changes, or that was not normalised",
        "the model has seen what it must predict, or other rows; most such leaks are accidents",
        "look for a mask, a shift, a convolution, a cache or a batch statistic that reaches past its own row's past; "
        "leave the softmax to the harness",
    ),
    Rule(
        "audit-mean",
        "audit",
        "predictions that are, on average, better with the true future at hand than with another",
        "many small leaks add up to a gain that is not there",
        "as for audit-causality; a gate or an average over the whole row is a usual cause",
    ),
    Rule(
        "audit-alone",
        "audit",
        "a prediction of an image that changes when it is asked for alone, in a fresh process",
        "what is carried from one image to another tells of more than the question does",
        "look for a statistic over the batch, or for state that is kept between calls",
    ),
    Rule(
        "audit-codes",
        "audit",
        "codes outside the track's vocabulary",
        "more codes would carry more of the image than the others may send",
        "return whole numbers from 0 up to the number of codes, one for each place of the grid",
    ),
    Rule(
        "too-good",
        "audit",
        "a gain worth four times the tokens or the time, or a loss below the entropy of the control source",
        "what looks impossible usually is: a person looks before it counts",
        "explain in the pull request where the gain comes from",
    ),
)

RULES = {rule.id: rule for rule in _RULES}


def fault(rule_id: str, where: str, what: str, fix: str | None = None) -> Fault:
    """A fault under a rule; the rule's own mend unless a closer one is given. An unknown id raises KeyError."""
    return Fault(rule_id, where, what, fix or RULES[rule_id].fix)


def render_table() -> str:
    """The rules as markdown: a heading and a table for each group."""
    parts = []
    for group, heading in GROUPS.items():
        members = [rule for rule in RULES.values() if rule.group == group]
        rows = [f"| `{rule.id}` | {rule.title} | {rule.why} | {rule.fix} |" for rule in members]
        head = ["| rule | what is refused | why | how to mend it |", "|---|---|---|---|"]
        parts.append("\n".join([f"### {heading}", "", *head, *rows]))
    return "\n\n".join(parts) + "\n"


def embed(text: str) -> str:
    """`text` with the present table between the markers; raises UsageError where the markers are not there once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError("rules.embed", "the two markers are not there exactly once", f"add {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{render_table()}{END}{after}"
