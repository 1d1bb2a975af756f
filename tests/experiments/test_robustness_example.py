import numpy as np

from htunet.experiments.robustness import Example


def test_squares_are_cut_around_the_lesion_as_far_as_the_picture_allows() -> None:
    image = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    for lesion, left in ((100, 50), (190, 100), (5, 0)):
        mask = np.zeros((100, 200), dtype=np.uint8)
        mask[40:60, lesion - 3 : lesion + 4] = 1
        found = Example(case="a", images={"gain": [image]}, values={"gain": [0.0]}, mask_HW=mask).squares["gain"][0]
        assert found.shape == (100, 100)
        assert found[0, 0] == left


def test_without_a_lesion_the_middle_is_cut() -> None:
    image = np.tile(np.arange(100, dtype=np.uint8)[:, None], (1, 40))
    found = Example(case="a", images={"gain": [image]}, values={"gain": [0.0]}, mask_HW=None).squares["gain"][0]
    assert found.shape == (40, 40)
    assert found[0, 0] == 29
