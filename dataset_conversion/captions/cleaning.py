"""Captions as the network's text tower should read them: no special characters, no stray white space, long enough.

Characters count after cleaning and one by one, a Chinese sign as much as a Latin letter.
"""

import html
import re
import unicodedata

SHORTEST = 20
"""Characters. Source: arXiv 2506.08849, section IV-A; captions below it say little ("CT Image", "Figure 3")."""
KEPT_ASCII = frozenset(".,;:!?'\"()[]/%&+-=<>~")
"""The punctuation of sentences and measurements; the rest of ASCII's (# $ @ * ^ _ ` { } | \\) is special."""
KEPT_SYMBOLS = frozenset("°")
PLAIN = {
    **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{PRIME}", "'"),
    **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
    **dict.fromkeys("\N{DOUBLE LOW-9 QUOTATION MARK}\N{DOUBLE PRIME}", '"'),
    **dict.fromkeys("\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}", "-"),
    "\N{FRACTION SLASH}": "/",
    "\N{BULLET}": " ",
}

ATTRIBUTE = r"""\s+[\w:-]+=(?:"[^"<>]*"|'[^'<>]*'|[^\s<>"']+)"""
TAG = re.compile(
    r"<\s?/?\s?(?:b|i|u|em|strong|sub|sup|p|br|ul|ol|li|div|span|a|italic|bold|xref|hr|td|tr)"
    rf"(?:{ATTRIBUTE})*\s?/?>",
    re.IGNORECASE,
)
PASSES = 5
"""An entity may hide a tag, a full-width sign an entity; nobody nests them deeper than this but to do harm."""
EMPTY_BRACKETS = re.compile(r"\( ?\)|\[ ?\]")
AROUND_PUNCTUATION = re.compile(r" (?=[.,;:!?)\]](?!\d))|(?<=[(\[]) ")
CJK = "\u3001-\u303f\u3400-\u9fff"
BETWEEN_CJK = re.compile(rf"(?<=[{CJK}])\s+(?=[{CJK}])")
CJK_SIGN = re.compile("[\u3400-\u9fff]")


class _Table(dict[int, str]):
    """What becomes of each character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = _plain(chr(code))
        return self[code]


def _plain(sign: str) -> str:
    """The sign itself, its plain form, nothing for an invisible one, or a blank for a special one."""
    kind = unicodedata.category(sign)
    if sign in PLAIN:
        return PLAIN[sign]
    if sign.isascii() and not sign.isalnum():
        return sign if sign in KEPT_ASCII else " "
    if kind == "Cf":  # soft hyphens, zero-width joints, byte order marks: they part no words
        return ""
    # letters, marks and numbers of any script, its punctuation, and mathematical signs such as ± and ≥
    kept = kind[0] in "LMNP" or kind == "Sm" or sign in KEPT_SYMBOLS
    return sign if kept else " "


_TABLE = _Table()


def clean_caption(text: str) -> str:
    r"""One line of text without special characters; may be empty.

    In this order: HTML entities and tags go; compatibility forms (full width, ligatures, superscripts) become plain
    ones; special characters become blanks; white space collapses, and goes between Chinese signs, before punctuation,
    inside brackets and around the text. Cleaning twice changes nothing.

    >>> clean_caption("  Fig.\u00a01 # 3:  &lt;5mm “cyst” <i>in vivo</i>\n\twith ﬁne walls ★ . ")
    'Fig. 1 3: <5mm "cyst" in vivo with fine walls.'
    """
    for _ in range(PASSES):
        before, text = text, unicodedata.normalize("NFKC", TAG.sub(" ", html.unescape(text)))
        text = EMPTY_BRACKETS.sub(" ", " ".join(text.translate(_TABLE).split()))
        text = BETWEEN_CJK.sub("", " ".join(text.split()))
        text = AROUND_PUNCTUATION.sub("", text).strip()
        if text == before:
            break
    return text


def is_too_short(caption: str) -> bool:
    """Has the cleaned caption fewer than 20 characters, or no letter at all?"""
    return len(caption) < SHORTEST or not any(sign.isalpha() for sign in caption)


def language_of(caption: str) -> str:
    """``zh`` where there is a Chinese sign, else ``en``: the two languages that the data sets have."""
    return "zh" if CJK_SIGN.search(caption) else "en"
