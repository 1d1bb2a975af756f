"""Files that somebody else may have written or cut: what is wrong is one HtunetError that names the file."""

from pathlib import Path

import pytest

from htunet.errors import HtunetError
from htunet.files import read_csv, read_json, read_object


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"a": NaN}', b"[Infinity]"])
def test_what_is_no_strict_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(HtunetError, match=r"a\.json is not valid JSON"):
        read_json(path)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"'])
def test_json_that_is_no_object_is_refused_where_an_object_is_needed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HtunetError, match=r"a\.json must hold a JSON object"):
        read_object(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns"),
        (b"a,b\n1,2\n3\n", "row 2 below the header, must have 2 values"),
        (b"a,b\n1,2,3\n", "row 1 below the header, must have 2 values"),
        (b"a,b\n\xe9,2\n", "is not a CSV in UTF-8"),
    ],
)
def test_a_csv_with_missing_or_surplus_values_or_of_another_encoding_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(HtunetError, match=message) as caught:
        read_csv(path, ("a", "b"))
    assert "a.csv" in str(caught.value)
