"""What a run that is continued compares with its record."""

from htunet.training.session import _differences


def test_a_record_without_the_hash_of_its_data_is_not_continued_silently() -> None:
    same = {"data_sha256": "a", "split_sha256": "b"}
    assert not [*_differences(same, same)]
    assert [*_differences({}, same)] == [
        "the images, masks, labels or classes have changed",
        "the training and validation splits have changed",
    ]
    assert not [*_differences({}, {"images_sha256": "c"})]  # which earlier versions did not write
