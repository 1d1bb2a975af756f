"""The project speaks of itself alone: nothing of one machine or one conversation stands in a tracked file."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Written so that this file does not find itself.
TOP_FOLDERS = "/(?:work|farm|root|home|Users)/"
HOSTS = r"pypi[.]org|files[.]pythonhosted|deb[.]debian|registry[.]npm|proxy[.]golang"
NUMBERS = r"(?i)\b(?:issue|pull request|ticket)s? #?\d+|(?<!: )(?<![\w&#\"')])#\d{1,5}\b(?![\da-f;])"
FOREIGN = {
    "the path of one machine": rf"(?<![\w.~$}}]){TOP_FOLDERS}",
    "the host of a package registry": HOSTS,
    "the number of an issue": NUMBERS,
    "a folder outside the project": "share[d]/",
}
LARGEST_TEXT = 100_000
COUNTED = re.compile(
    r" (?:(?:test|training|more|other|different|official|published|file|group) )?"
    r"(?:case|image|group|pair|mask|label|classe|file|frame|caption|run|fold|seed|patient|channel|column|row|point|slice|"
    r"step|epoch|worker|processe|line|method|device|entrie)s\b"
)
"""Plural nouns that a number may stand before."""
PLAIN = {
    "wanted": "requested or expected",
    "left_out": "excluded",
    **dict.fromkeys(("foretold", "foretell", "foretells"), "predicted"),
    **dict.fromkeys(("said", "told"), "reported"),
    **dict.fromkeys(("wish", "wishes"), "request or config"),
    **dict.fromkeys(("taps", "draw_by", "carry_out", "take_in", "taken_in", "telling"), "the field's own term"),
}
"""Words that no name in the code has, and what is meant."""


def tracked_files() -> list[Path]:
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in result.stdout.split("\0") if name and (ROOT / name).is_file()]


def tracked_texts() -> dict[str, str]:
    texts = {}
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:
            texts[str(path.relative_to(ROOT))] = content.decode("utf-8")
    return texts


@pytest.mark.parametrize("what", FOREIGN)
def test_no_tracked_file_holds(what: str) -> None:
    texts = tracked_texts()
    if not texts:
        pytest.skip("this is not a git checkout")
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(FOREIGN[what], line)
    ]
    assert not found, f"{what} stands in\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("what", "parts", "glue"),
    [
        ("the path of one machine", ["see /work", "main"], "/"),
        ("the host of a package registry", ["from https://pypi", "org", "simple"], "."),
        ("the number of an issue", ["mends issue", "12"], " "),
        ("the number of an issue", ["see ", "12"], "#"),
        ("the number of an issue", ["mended (", "12)"], "#"),
        ("a folder outside the project", ["../shared", "data"], "/"),
    ],
)
def test_the_search_finds_what_it_is_for(what: str, parts: list[str], glue: str) -> None:
    assert re.search(FOREIGN[what], glue.join(parts))


def test_texts_are_of_a_readable_size() -> None:
    assert not [name for name, text in tracked_texts().items() if len(text) > LARGEST_TEXT]


def odd_names(source: str) -> list[str]:
    """The names in Python code with a word of ``PLAIN`` between underscores; sentences that name a test are none."""
    words = re.compile(rf"(?:^|_)(?:{'|'.join(PLAIN)})(?:_|$)")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = (token.string for token in tokens if token.type == tokenize.NAME)
    return [name for name in names if not name.startswith("test_") and words.search(name.lower())]


def test_names_use_the_terms_of_the_field() -> None:
    odd = {name: odd_names(text) for name, text in tracked_texts().items() if name.endswith(".py")}
    assert not {name: found for name, found in odd.items() if found}


def test_texts_use_the_terms_of_the_field() -> None:
    words = re.compile(r"(?i)\b(?:wanted|foret(?:old|ell)\w*)\b")
    texts = {name: text for name, text in tracked_texts().items() if name != "tests/test_words.py"}
    assert not {name: found for name, text in texts.items() if (found := words.findall(text))}


def test_an_odd_name_is_found_wherever_it_stands() -> None:
    source = "def f(wanted, *, n_left_out=0):\n    self.said, want = wanted, 'told'\n"
    assert odd_names(source) == ["wanted", "n_left_out", "said", "wanted"]


def uncounted(text: str) -> list[str]:
    """Of Python's text, f-strings with a number that may be 1 before a plural: ``htunet.errors.counted`` knows both."""
    found = []
    for string in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.JoinedStr)):
        for before, number, after in zip([None, *string.values], string.values, string.values[1:], strict=False):
            if not (isinstance(number, ast.FormattedValue) and isinstance(after, ast.Constant)):
                continue
            ahead = before.value if isinstance(before, ast.Constant) else ""
            of_all = re.search(r"\b(?:of|of the) $", str(ahead))  # "1 of 1 images"
            of_all = of_all or after.value == " folds"  # the rule of a split
            value = ast.unparse(number.value)
            is_number = re.match(r"len\(|n_\w+$|num_\w+$|\w*count$", value) and not number.format_spec
            if is_number and not of_all and COUNTED.match(str(after.value)):
                found.append(f"line {number.lineno}: {{{value}}}{str(after.value)[:30]}")
    return found


def test_no_message_says_1_images() -> None:
    assert uncounted('f"{len(a)} images in {n_runs} test runs, 1 of {len(b)} cases, {name} images, {len(c)} x"') == [
        "line 1: {len(a)} images in ",
        "line 1: {n_runs} test runs, 1 of ",
    ]
    files = [path for folder in ("htunet", "dataset_conversion") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [f"{path.relative_to(ROOT)}, {text}" for path in files for text in uncounted(path.read_text("utf-8"))]
    assert not found, "\n".join(found)
