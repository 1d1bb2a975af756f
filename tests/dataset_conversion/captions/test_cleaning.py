import json
from pathlib import Path

import pytest

from dataset_conversion.captions.cleaning import clean_caption, is_too_short, language_of
from htunet.reproducibility import generator

SLOW = ("&amp;" * 100_000, "&" + "amp;" * 100_000, "<" + " " * 200_000, "(" * 200_000, "<b " * 50_000, "<b a=" * 50_000)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a mass\n\n\tof the  breast ", "a mass of the breast"),
        ("\u2022 one\n\u2022 two", "one two"),
        ("\u201cfilm\u201d # 2, the patient\u2019s 3\u20135 mm \u2265 2", '"film" 2, the patient\'s 3-5 mm \u2265 2'),
        ("arrows (\u2605) and (*) . End", "arrows and. End"),
        ("p &lt; 0.05 &amp; r&gt;0.9", "p < 0.05 & r>0.9"),
        ("<i>in vivo</i> H<sub>2</sub>O &lt;br/&gt; <a href='x'>link</a>", "in vivo H 2 O link"),
        ("a <b and c> d, < 5mm", "a <b and c> d, < 5mm"),
        ("\ufb01ne 5\u00a0\u339c\u00b2 \u00bd", "fine 5 mm2 1/2"),
        ("zero\u200bwidth soft\u00adhyphen \ufefffile", "zerowidth softhyphen file"),
        ("lone \ud800 half \x00 and \ue000", "lone half and"),
        (
            "37 \u00b0C, 5 \u00b5m, \u03b1-SMA, 12 \u00d7 8 \u00b1 1 %",
            "37 °C, 5 \u03bcm, \u03b1-SMA, 12 \u00d7 8 \u00b1 1 %",
        ),
        ("双侧\n 乳腺\uff0c边界清\u3002 \u2605", "双侧乳腺,边界清。"),
        ("左乳 2 点见结节", "左乳 2 点见结节"),
        ("emoji \U0001f600 and box \u2588", "emoji and box"),
        ("(# 56) about ~2 cm", "(56) about ~2 cm"),
        ("see\\_this_one {x} | $5 ^2 `q`", "see this one x 5 2 q"),
        ("\u2605\u2605", ""),
    ],
)
def test_special_characters_and_stray_white_space_go(text: str, clean: str) -> None:
    assert clean_caption(text) == clean


def test_cleaning_twice_changes_nothing() -> None:
    rng = generator(0, "texts")
    odd = "ab 1.,;:()[]<>&#lt;amp\n\t中文\uff0c。\u2605\ufb01\u2460\u200b\ufeff\ud800\u0301~"
    signs = [*odd, "<i>", "&lt;i&gt;"]
    for _ in range(5000):
        text = "".join(rng.choice(signs, int(rng.integers(0, 25))))
        once = clean_caption(text)
        assert clean_caption(once) == once
        assert once == once.strip()
        assert "  " not in once
        once.encode("utf-8")


@pytest.mark.parametrize("text", SLOW, ids=range(len(SLOW)))
def test_a_text_made_to_be_slow_is_cleaned_at_once(text: str) -> None:
    assert len(clean_caption(text)) <= len(text)


@pytest.mark.parametrize(
    ("caption", "short"),
    [
        ("x" * 19, True),
        ("x" * 20, False),
        ("结" * 19, True),
        ("结" * 20, False),
        ("1234567890 1234567890 (1)", True),
        ("", True),
    ],
)
def test_nineteen_characters_are_too_short_and_a_number_alone_says_nothing(caption: str, short: bool) -> None:
    assert is_too_short(caption) is short


def test_one_chinese_sign_makes_a_text_chinese() -> None:
    assert language_of("A nodule of 5 mm") == "en"
    assert language_of("BI-RADS 4 结节") == "zh"
    assert language_of("\u03b1 \u2265 5, café") == "en"


def test_of_the_real_captions_96_are_too_short_before_and_after_cleaning(samples: Path) -> None:
    records = json.loads((samples / "medpix_sample/MedPix-2-0/Descriptions.json").read_text(encoding="utf-8"))
    captions = [record["Description"]["Caption"] for record in records]
    cleaned = [clean_caption(caption) for caption in captions]
    assert sum(len(caption) < 20 for caption in captions) == 96
    assert sum(is_too_short(caption) for caption in cleaned) == 96
    assert not any(sign in caption for caption in cleaned for sign in "\n\t\u2022#*_\\\u201c\u2013")
    assert clean_caption("< li > Well circumscribed") == "Well circumscribed"
    words = [sum(len(one.split()) for one in texts) for texts in (captions, cleaned)]
    assert words[1] > 0.99 * words[0]
