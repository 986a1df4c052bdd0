import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.board.markdown import count, duration, escape, file_stem, interval, number, plain

HOSTILE = [
    "a | b",
    "</details><script>alert(1)</script>",
    "@everyone look",
    "\x1b[31mred\x1b[0m",
    "line\nbreak\r\n# heading",
    "`code` **bold** _it_ ~~gone~~ $x$",
    "[link](http://example.com) ![image](x)",
    "www.example.com https://example.com",
    "\u202eright to left\u2066",
    "zero\u200bwidth\ufeff",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_markdown_acts_on_is_left(text):
    safe = escape(text)
    assert not re.search(r"[|`*<>\n\r\x1b\\~$!]", safe)
    assert not re.search(r"\[[^\]]*\]\(", safe)
    assert "@" not in safe and "://" not in safe and "www." not in safe


def test_a_mention_keeps_its_letters_but_cannot_notify():
    assert escape("@everyone") == "&#64;&#8203;everyone"


@given(st.text())
def test_escaped_text_is_one_short_visible_line(text):
    safe = escape(text, limit=50)
    shown = html.unescape(safe).replace("\u200b", "")
    assert len(shown) <= 50
    assert not re.search(r"[|`*<>\n\r\\]", safe)
    assert all(unicodedata.category(mark)[0] != "C" for mark in shown)


@given(st.text(alphabet="abc XYZ 019,;()-", max_size=40))
def test_ordinary_words_are_shown_as_they_are(text):
    assert html.unescape(escape(text)) == " ".join(text.split())


def test_a_name_of_70_kilobytes_is_cut():
    assert len(plain("x" * 70_000, 80)) == 80
    assert plain("x" * 70_000, 80).endswith("…")


def test_a_numeric_interval_is_left_readable_but_a_link_is_not():
    assert escape("gain [0.0007, −0.0203] nats") == "gain [0.0007, −0.0203] nats"
    assert "[1](" not in escape("[1](//evil)")


@pytest.mark.parametrize("slug", ["../../etc/passwd", "a/b", "UPPER", "x" * 70_000, "", "\ud800", ".hidden"])
def test_a_strange_slug_never_leaves_the_folder(slug):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", file_stem(slug))


def test_an_ordinary_slug_is_its_own_file_name():
    assert file_stem("gated-attention") == "gated-attention"


def test_two_strange_slugs_do_not_share_a_file():
    assert file_stem("../a") != file_stem("..//a")


@pytest.mark.parametrize(
    ("value", "text"),
    [(65_536, "65.5k"), (8_000_000, "8.00M"), (999_600, "1.00M"), (1e9, "1.00B"), (-1234, "−1.23k"), (12, "12")],
)
def test_counts_have_three_digits(value, text):
    assert count(value) == text


def test_numbers_have_true_minus_signs_and_dashes_for_nothing():
    assert number(-0.01234) == "−0.0123"
    assert number(0.5, 2, sign=True) == "+0.50"
    assert number(-0.00001) == "0.0000"
    assert number(None) == number(float("inf")) == "–"
    assert interval((-1.0, 2.0), 1) == "[−1.0, 2.0]"
    assert interval(None) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.26, "41.3 s"), (725, "12 min 5 s"), (10_291, "2 h 51 min"), (None, "–")]
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def inline_types(cell):
    """What a Markdown parser sees in the only body cell of a table."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"| a |\n| --- |\n| {cell} |\n")
    assert sum(token.type == "td_open" for token in tokens) == 1
    (body,) = [token for token in tokens if token.type == "inline"][1:]
    return {child.type for child in body.children}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_markdown_parser_sees_one_cell_of_plain_text(text):
    assert inline_types(escape(text)) <= {"text", "text_special"}


@given(st.text(alphabet="|`*_[]()<>\\!#~$&;:@/.-+=\n ax1", max_size=30))
def test_no_mixture_of_active_characters_becomes_markup(text):
    assert inline_types(escape(text)) <= {"text", "text_special"}
