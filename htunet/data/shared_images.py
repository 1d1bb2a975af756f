"""Find images of one data set that also occur in another: a test on external data has to exclude them."""

from collections.abc import Sequence

from tqdm import tqdm

from htunet.data.duplicates import cluster, find_duplicates, signature_of
from htunet.data.image_io import read_image
from htunet.data.raw import RawDataset
from htunet.errors import HtunetError, some


def shared_images(
    seen: RawDataset, seen_ids: Sequence[str], tested: RawDataset, tested_ids: Sequence[str]
) -> dict[str, list[str]]:
    """Tested id to the ids of ``seen`` that show the same picture (see ``htunet.data.duplicates``); sorted.

    Raises HtunetError for ids without a case, as after a new conversion.
    """
    owners = []
    for raw, ids in ((seen, seen_ids), (tested, tested_ids)):
        if gone := sorted({*ids} - raw.by_id.keys()):
            raise HtunetError(f"{raw.paths.raw} no longer has {some(gone)}: these pictures cannot be compared.")
        owners += [(raw, raw.by_id[case_id]) for case_id in ids]
    signatures = (
        signature_of(read_image(raw.image_path(case), 1))
        for raw, case in tqdm(owners, desc="comparing with the training images", unit="image", disable=None)
    )
    found: dict[str, list[str]] = {}
    for members in cluster(find_duplicates(signatures)):
        known = [owners[i][1].id for i in members if i < len(seen_ids)]
        if known:
            found |= {owners[i][1].id: sorted(known) for i in members if i >= len(seen_ids)}
    return dict(sorted(found.items()))
