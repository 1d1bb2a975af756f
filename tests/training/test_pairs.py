"""Pairs of several data sets as one: which row has which image, text and number."""

import numpy as np
import torch

from htunet.data.captions import CaptionDataset, CaptionInfo
from htunet.paths import DatasetPaths
from htunet.preprocessing.caption_arrays import PreparedCaptions
from htunet.training.pairs import CaptionPairs, shuffled


def prepared(*channels_of_rows: list[int]) -> PreparedCaptions:
    """Images of 2 x 2 pixels, each channel even."""
    info = CaptionInfo(name="Words", licence="", reference="", description="")
    images = np.array(channels_of_rows, dtype=np.uint8)[:, :, None, None].repeat(2, axis=2).repeat(2, axis=3)
    return PreparedCaptions(CaptionDataset(DatasetPaths("Dataset907_Words"), info, ()), images)


def test_rows_of_all_data_sets_follow_one_another_and_gray_becomes_three_equal_channels() -> None:
    both = [prepared([1], [2], [3]), prepared([10, 20, 30], [40, 50, 60])]
    pairs = CaptionPairs(both, torch.eye(5).unbind(), list("abcde"))
    found = pairs.as_they_are(range(5))
    assert found.images.shape == (5, 3, 2, 2)
    assert found.images[:, :, 1, 0].tolist() == [[1] * 3, [2] * 3, [3] * 3, [10, 20, 30], [40, 50, 60]]
    assert torch.equal(found.texts, torch.eye(5))


def test_gray_images_alone_stay_of_one_channel() -> None:
    pairs = CaptionPairs([prepared([1], [2])], torch.eye(2).unbind(), ["a", "b"])
    assert pairs.image(1).tolist() == [[[2, 2], [2, 2]]]


def test_equal_captions_have_equal_numbers_and_tokens_are_padded() -> None:
    words = [torch.tensor(ids) for ids in ([5], [6, 7, 8], [5], [9])]
    found = CaptionPairs([prepared([1], [2], [3], [4])], words, ["a", "b", "a", "c"]).as_they_are([3, 1, 0, 2])
    assert found.captions.tolist() == [2, 1, 0, 0]
    assert found.texts.tolist() == [[9, 0, 0], [6, 7, 8], [5, 0, 0], [5, 0, 0]]


def test_the_seed_chooses_which_texts_change_places() -> None:
    rows = range(0, 40, 2)
    assert shuffled(rows, 40, seed=1) == shuffled(rows, 40, seed=1) != shuffled(rows, 40, seed=2)
