"""Changes of whole batches: the same for the image and all that is known of its places, and light."""

import torch

from htunet.models.text.phantom import word_numbers
from htunet.pretraining.stream import DEPTH, FIRST_WORD, IMAGE, LESION, NUMBERS, PLANES, TISSUE, Images
from htunet.pretraining.variation import as_they_are, pooled, varied


def disc(count: int = 8, side: int = 64) -> Images:
    """A bright disc left of the middle, which is the lesion and tissue 7."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = ((rows - 30) ** 2 + (columns - 24) ** 2 < 100).to(torch.uint8)
    planes = torch.zeros((count, PLANES, side, side), dtype=torch.uint8)
    planes[:, IMAGE], planes[:, LESION], planes[:, TISSUE] = 40 + 160 * inside, inside, 7 * inside
    planes[:, DEPTH] = rows.to(torch.uint8)
    return Images(planes, torch.arange(count)[:, None].expand(count, NUMBERS))


def test_as_they_are_changes_nothing() -> None:
    found = disc()
    lesson = as_they_are(found)
    assert torch.equal(lesson.images[:, 0], found.planes[:, IMAGE].float())
    assert torch.equal(lesson.lesions, found.planes[:, LESION])
    assert torch.equal(lesson.classes, torch.arange(8))


def test_all_planes_move_with_the_image_and_keep_their_values() -> None:
    lesson = varied(disc(), 5)
    assert set(lesson.dense[:, TISSUE].unique().tolist()) == {0, 7}
    assert torch.equal(lesson.dense[:, TISSUE] == 7, lesson.lesions == 1)
    for image, lesion in zip(lesson.images[:, 0], lesson.lesions, strict=True):
        bright = image > (image[lesion == 1].mean() + image[lesion == 0].mean()) / 2
        overlap = 2 * (bright & (lesion == 1)).sum() / (bright.sum() + lesion.sum())
        assert overlap > 0.85
    assert lesson.images.min() >= 0
    assert lesson.images.max() <= 255


def test_the_seed_decides_and_each_image_is_changed_otherwise() -> None:
    first, again, other = varied(disc(), 5), varied(disc(), 5), varied(disc(), 6)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    places = [torch.nonzero(lesion).float().mean(dim=0)[1].item() for lesion in first.lesions]
    assert len({round(place) for place in places}) > 4
    assert min(places) < 32 < max(places)  # some are mirrored


def test_the_caption_of_a_flipped_image_names_the_other_side() -> None:
    words = torch.tensor(word_numbers("mass in the left part, not in the right part"))
    other = torch.tensor(word_numbers("mass in the right part, not in the left part"))
    found = Images(disc(16).planes, torch.zeros((16, NUMBERS), dtype=torch.int64))
    found.numbers[:, FIRST_WORD : FIRST_WORD + len(words)] = words
    found.planes[:, DEPTH] = torch.arange(64, dtype=torch.uint8)  # rising to the right
    lesson = varied(found, 5)
    rises = lesson.dense[:, DEPTH].float().diff(dim=2).sign().sum(dim=(1, 2)) > 0
    assert 0 < rises.sum() < 16
    for kept, found_words in zip(rises, lesson.words, strict=True):
        assert torch.equal(found_words[: len(words)], words if kept else other)
    assert (found.numbers[:, FIRST_WORD : FIRST_WORD + len(words)] == words).all()  # which the pool draws again


def test_pooled_is_the_mean_of_the_places_of_a_patch() -> None:
    values = torch.zeros(1, 32, 32)
    values[0, :16, :8] = 1
    assert pooled(values, 16).tolist() == [[[0.5, 0], [0, 0]]]
