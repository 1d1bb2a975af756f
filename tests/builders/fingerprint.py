"""A fingerprint of 100 square images without anything special, of which a test changes what it is about."""

from htunet.planning.fingerprint import Fingerprint

SAME = {"min": 1.0, "median": 1.0, "max": 1.0}
PRINT = Fingerprint(
    dataset="Dataset903_Tiny",
    raw_sha256="abc",
    num_training=100,
    num_test=0,
    shapes_after_crop=[[1, 100, 100]] * 100,
    spacings=[[999.0, 999.0, 999.0]] * 100,
    foreground_intensity_properties_per_channel=None,
    median_relative_size_after_cropping=1.0,
    intensities={},
    height=SAME,
    width=SAME,
    aspect_ratio=SAME,
    aspect_ratio_after_crop=SAME,
    lesion_area=None,
    lesion_smaller_side=None,
    lesion_smaller_side_after_crop=None,
    lesions_per_image={},
    empty_masks=0,
    classes={},
    groups={"count": 0, "largest": 0, "cases_without": 100},
    spacing_mm=None,
    border={"median": 0.0, "max": 0.0, "cases_wide": 0},
    cases_losing_lesion=0,
)
