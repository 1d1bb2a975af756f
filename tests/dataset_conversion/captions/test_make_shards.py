"""Tars of pairs become a data set that is read where they lie; what is wrong with them is named."""

import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from builders.captions import sentence
from builders.contrastive import build_captions
from PIL import Image

from dataset_conversion import convert
from dataset_conversion.captions import make_shards as own
from dataset_conversion.common import ConversionReport, Options
from htunet.archives import tar_members
from htunet.data.caption_splits import settle_caption_split
from htunet.data.captions import read_caption_info, read_captions
from htunet.data.image_io import open_image
from htunet.data.shards import PAIRS, read_shards
from htunet.errors import HtunetError, UsageError
from htunet.files import read_csv
from htunet.paths import DatasetPaths

PATHS = DatasetPaths("Dataset520_Large")
Files = dict[str, bytes]


def picture(index: int, ending: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(index).integers(0, 255, (12, 10), dtype=np.uint8)).save(stream, ending)
    return stream.getvalue()


def pairs(first: int, count: int) -> Files:
    found: Files = {}
    for index in range(first, first + count):
        found |= {f"{index:03d}.png": picture(index), f"{index:03d}.txt": sentence(index).encode()}
    return found


def write_tar(path: Path, files: Files, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def converted(folder: Path) -> ConversionReport:
    return convert("Shards", folder, Options(name=PATHS.name, workers=1))


def test_pairs_come_back_as_they_were_packed(home: Path, tmp_path: Path) -> None:
    more = {
        "a/b.c.jpg": picture(90, "JPEG"),
        "a/b.json": json.dumps({"caption": "A  large  cyst of the breast"}).encode(),
    }
    more["a/b.jpg"] = more.pop("a/b.c.jpg")
    write_tar(tmp_path / "0.tar", pairs(0, 5) | {"x.cls": b"1"} | more)
    write_tar(tmp_path / "1.tar", pairs(5, 3), format=tarfile.GNU_FORMAT)
    report = converted(tmp_path)
    assert (report.found, report.converted, report.excluded) == ({"shards": 2, "samples": 9}, {"en": 9}, ())
    found = read_shards(PATHS)
    assert (found.counts(validation=False), found.counts(validation=True)) == ((6,), (3,))
    captions = [sentence(index) for index in range(5)] + ["A large cyst of the breast"] + [
        sentence(index) for index in range(5, 8)]  # fmt: skip
    assert [found.caption(row) for row in range(9)] == captions
    for row, index in enumerate([0, 1, 2, 3, 4, None, 5, 6, 7]):
        if index is not None:
            expected = Image.open(io.BytesIO(picture(index)))
            assert np.array_equal(np.asarray(found.image(row)), np.asarray(expected))
    assert found.image(5).size == (10, 12)
    assert all(path.is_symlink() for path in PATHS.shards.glob("*.tar"))


def test_a_converted_data_set_is_packed_into_equal_bytes_each_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "PAIRS_PER_SHARD", 10)
    words = read_captions(build_captions())
    converted(words.paths.raw)
    tars = {path.name: path.read_bytes() for path in PATHS.shards.glob("*.tar")}
    assert sorted(tars) == [f"train-00000{number}.tar" for number in range(4)] + ["val-000000.tar"]
    found = read_shards(PATHS)
    captions = sorted(found.caption(row) for row in range(40))
    assert captions == sorted(pair.caption for pair in words.pairs)
    of_id = {pair.id: pair for pair in words.pairs}
    val = sorted(of_id[one].caption for one in settle_caption_split(words).val)
    assert sorted(found.caption(row) for row in range(36, 40)) == val
    by_caption = {pair.caption: pair for pair in words.pairs if pair.caption != words.pairs[0].caption}
    for row in range(40):
        if pair := by_caption.get(found.caption(row)):
            assert np.array_equal(np.asarray(found.image(row)), np.asarray(open_image(words.image_path(pair))))
    digest = found.sha256
    converted(words.paths.raw)
    assert {path.name: path.read_bytes() for path in PATHS.shards.glob("*.tar")} == tars
    assert read_shards(PATHS).sha256 == digest


def test_what_cannot_be_used_is_excluded_with_its_reason(home: Path, tmp_path: Path) -> None:
    bad: Files = {
        "a.png": b"nothing", "a.txt": sentence(1).encode(), "b.png": picture(1), "c.txt": sentence(2).encode(),
        "d.png": picture(2), "d.txt": b"short", "e.png": picture(3), "e.json": b'{"title": "a text of many signs"}',
        "f.png": picture(4), "f.txt": b"\xff" * 40, "g.png": picture(5), "g.json": b"{",
    }  # fmt: skip
    write_tar(tmp_path / "0.tar", bad | pairs(0, 2))
    write_tar(tmp_path / "1.tar", pairs(2, 1))
    converted(tmp_path)
    rows = {row["source"]: row["reason"] for row in read_csv(PATHS.excluded_csv, ("source", "reason"))}
    assert {name: reason.split(":")[0] for name, reason in rows.items()} == {
        "0.tar: a": "image cannot be read",
        "0.tar: b": "no text",
        "0.tar: c": "no image",
        "0.tar: d": "caption too short",
        "0.tar: e": "no text",
        "0.tar: f": "text is not UTF-8",
        "0.tar: g": "text cannot be read",
    }
    assert read_shards(PATHS).counts(validation=False) == (2,)


def test_files_whose_names_have_more_points_are_counted(home: Path, tmp_path: Path) -> None:
    """``v1.2.png`` is the file ``2.png`` of ``v1`` for webdataset: its caption would be lost without a word."""
    more = {"v1.2.png": picture(7), "v1.2.txt": sentence(7).encode(), "v1.3.png": picture(8), "x.cls": b"1"}
    write_tar(tmp_path / "0.tar", more | pairs(0, 2))
    write_tar(tmp_path / "1.tar", {"y.cls": b"1"} | pairs(2, 1))
    converted(tmp_path)
    assert read_caption_info(PATHS).notes[1] == (
        "passed over, as a pair's name ends at its first point: 5 files: 2 x .cls, 1 x .2.png, 1 x .2.txt, 1 x .3.png"
    )


def test_one_shard_cannot_be_split(home: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", pairs(0, 5))
    with pytest.raises(HtunetError, match=r"No pair of .* is left for the train split"):
        converted(tmp_path)
    assert not PATHS.raw.exists()


def test_nothing_is_replaced_by_what_is_made_of_it(home: Path) -> None:
    words = build_captions()
    with pytest.raises(UsageError, match="would be replaced by its own shards"):
        convert("Shards", words.raw, Options(name=words.name))
    converted(words.raw)
    with pytest.raises(UsageError, match="would be replaced by its own shards"):
        converted(PATHS.raw)
    assert len(list(PATHS.shards.glob("*.tar"))) == 2


def test_shards_that_say_so_validate(home: Path, tmp_path: Path) -> None:
    for name, count in (("a", 3), ("val-0", 2), ("z", 4)):
        write_tar(tmp_path / f"{name}.tar", pairs(ord(name[0]), count))
    converted(tmp_path)
    found = read_shards(PATHS)
    assert [(one.file, one.validation) for one in found.shards] == [
        ("a.tar", False), ("z.tar", False), ("val-0.tar", True)]  # fmt: skip
    assert found.caption(3) == sentence(ord("z"))
    assert found.caption(7) == sentence(ord("v"))


def hostile(kind: bytes, name: str = "a.png", link: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (hostile(tarfile.SYMTYPE), "is a link or a device"),
        (hostile(tarfile.LNKTYPE), "is a link or a device"),
        (hostile(tarfile.CHRTYPE), "is a link or a device"),
        (hostile(tarfile.FIFOTYPE), "is a link or a device"),
        (hostile(tarfile.GNUTYPE_SPARSE), "is a link or a device"),
        (hostile(tarfile.REGTYPE, "../a.png"), "would lie outside"),
        (hostile(tarfile.REGTYPE, "/a.png"), "would lie outside"),
    ],
)
def test_a_hostile_tar_is_refused(home: Path, tmp_path: Path, member: tarfile.TarInfo, reason: str) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        archive.addfile(member)
    write_tar(tmp_path / "1.tar", pairs(2, 1))
    with pytest.raises(HtunetError, match=f"0.tar is refused.*{reason}"):
        converted(tmp_path)
    assert not PATHS.raw.exists()


def header(content: bytearray, which: int) -> int:
    """Where the header of a file begins, in a tar of files that each fill one block or more."""
    return [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"][which]


def cut(content: bytearray) -> None:
    del content[len(content) // 2 :]


def cut_before_a_header(content: bytearray) -> None:
    del content[header(content, 4) :]


def spoil_a_header(content: bytearray) -> None:
    content[header(content, 4) + 10] ^= 1


def append(content: bytearray) -> None:
    content += content[:]


def claim_a_long_name(content: bytearray) -> None:
    first = tarfile.TarInfo("a")
    first.type, first.size = tarfile.GNUTYPE_LONGNAME, 2**32
    content[:0] = first.tobuf(tarfile.GNU_FORMAT)


def claim_negative(content: bytearray) -> None:
    first = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    first[124:136] = b"\xff" * 12
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    content[:0] = first


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "cut off|cannot be read"),
        (cut_before_a_header, "is cut off"),
        (spoil_a_header, "is damaged, or another file was appended"),
        (append, "is damaged, or another file was appended"),
        (claim_a_long_name, "claims a header"),
        (claim_negative, "is cut off in|cannot be read"),
        (bytearray.clear, "cannot be read"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_tar_is_one_error_and_never_fewer_pairs(
    home: Path, tmp_path: Path, damage: object, reason: str
) -> None:
    content = bytearray(write_tar(tmp_path / "0.tar", pairs(0, 6), format=tarfile.USTAR_FORMAT).read_bytes())
    damage(content)  # type: ignore[operator]
    (tmp_path / "0.tar").write_bytes(content)
    write_tar(tmp_path / "1.tar", pairs(6, 1))
    with pytest.raises(HtunetError, match=f"The tar .*0.tar .*({reason})"):
        converted(tmp_path)
    assert not PATHS.raw.exists()


def test_a_compressed_tar_and_a_name_twice_are_refused(home: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    write_tar(tmp_path / "1.tar", pairs(2, 1))
    with pytest.raises(HtunetError, match="read where they are not compressed"):
        converted(tmp_path)
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name in ("a.png", "a.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(HtunetError, match=r"holds 'a.jpg' twice, or two images of that name"):
        converted(tmp_path)


def test_a_shard_that_changes_is_noticed(home: Path, tmp_path: Path) -> None:
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", pairs(number, 1))
    converted(tmp_path)
    write_tar(tmp_path / "1.tar", pairs(2, 1))
    with pytest.raises(HtunetError, match=r"1\.tar has changed since it was indexed"):
        read_shards(PATHS)
    converted(tmp_path)
    read_shards(PATHS)
    array = np.load(PATHS.shards / PAIRS)
    np.save(PATHS.shards / PAIRS, array[::-1])
    with pytest.raises(HtunetError, match=r"pairs\.npy has changed"):
        read_shards(PATHS)
    with pytest.raises(HtunetError, match="holds its pairs in shards, which htunet_finetune alone reads"):
        read_captions(PATHS)


def test_the_memory_for_a_tar_does_not_grow_with_its_files(tmp_path: Path) -> None:
    def peak(path: Path) -> int:
        tracemalloc.start()
        for _ in tar_members(path):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    tars = [
        write_tar(tmp_path / f"{count}.tar", {f"{index}.txt": b"x" for index in range(count)}) for count in (300, 3000)
    ]
    small, large = (min(peak(path) for _ in range(3)) for path in tars)  # a thread of another test may be ending
    assert large < 1.2 * small + 50_000
