"""What tables on pages of Markdown say."""

import re


def rows_below(heading: str, page: str) -> list[list[str]]:
    """The cells of the table whose first line begins with ``heading``."""
    table = page[page.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table]


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", " "))]
