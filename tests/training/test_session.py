"""What a run that is continued compares with its record."""

from htunet.training.session import _differences, _identity


def test_a_record_without_the_hash_of_its_data_is_not_continued_silently() -> None:
    same = {"data_sha256": "a", "split_sha256": "b"}
    assert not [*_differences(same, same)]
    assert [*_differences({}, same)] == [
        "the images, masks, labels or classes have changed",
        "the training and validation splits have changed",
    ]
    assert not [*_differences({}, {"images_sha256": "c"})]  # which earlier versions did not write


def test_a_record_of_an_earlier_version_of_the_same_start_is_continued() -> None:
    start = {"dataset": "Dataset503_BUSI", "sha256": "a"}
    then, now = ({"start_checkpoint": start | more} for more in ({}, {"weights": "phantom"}))
    assert not [*_differences(_identity(then), _identity(now))]
    assert [*_differences(_identity(then), _identity({"start_checkpoint": start | {"sha256": "b"}}))]
