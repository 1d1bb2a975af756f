"""Predict with model.onnx: ``python run_onnx.py OUTPUT IMAGE...``. Needs numpy, pillow and onnxruntime, no htunet."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime since 1.32 reports its use to Microsoft
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "GIF", "WEBP")


def read(path: Path, channels: int) -> Image.Image:
    """One upright picture of 8 bits; ValueError for several, and for values of another kind."""
    image = Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS)
    if image.format not in ("JPEG", "MPO") and getattr(image, "n_frames", 1) > 1:
        raise ValueError("it holds several pages or frames")
    tags, wide = getattr(image, "tag_v2", {}), image.mode[0] in "IF"
    bits, kind = tags.get(258, (0,))[0], tags.get(339, (1,))[0]
    if (";16" in str(image.tile[:1]) or bits > 8) and not wide:
        raise ValueError("its colours have more than 8 bits")
    rare = (image.mode, kind) == ("L", 2) or (image.mode, kind, bits) == ("I", 1, 32)
    if rare or (wide and (tags.get(262) == 0 or "transparency" in image.info)):
        raise ValueError("its gray values are of a rare kind")
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # more than 8 bits: scaled from the image's own range, unless its values fit 8 bits
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it contains values that are not numbers")
        low, high, floats = values.min(), values.max(), image.mode == "F"
        if floats and low >= 0 and 1 / 255 < high <= 1.001:  # fractions of 255
            low, high = 0, 1
        elif low >= 0 and 1 < high <= 255 and not (floats and high < 16 and abs(high - round(high)) > 0.001):
            low, high = 0, 255
        image = Image.fromarray(np.round((values - low) * (255 / ((high - low) or 1))).astype(np.uint8))
    elif image.has_transparency_data:  # transparent pixels are black
        colours, opacity = image.convert("RGBA").convert("RGB"), image.convert("RGBA").getchannel("A")
        image = Image.composite(colours, Image.new("RGB", image.size), opacity.point(lambda value: 255 * (value > 0)))
        if image.getbbox() is None:  # it is black all over
            image = next((one for one in (opacity, colours) if len(set(one.convert("L").getextrema())) > 1), image)
    return image.convert("L" if channels == 1 else "RGB")


if __name__ == "__main__":
    output, *paths = map(Path, sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
    here, bilinear, excluded = Path(__file__).parent, Image.Resampling.BILINEAR, []
    session = __import__("onnxruntime").InferenceSession(here / "model.onnx")
    about = json.loads((here / "preprocessing.json").read_text(encoding="utf-8"))
    resample = Image.Resampling[about.get("resize", "bilinear").upper()]
    table = __import__("onnx_tables").ClassesTable(output, about["classes"])
    for path in paths:
        try:
            image = read(path, about["channels"])
        except Exception as error:
            excluded.append(f"Skipped {path} ({error}). Formats: {', '.join(FORMATS)}; htunet_predict reads more.")
            continue
        alone = sum(other.stem == path.stem for other in paths) == 1
        name = path.stem if alone else str(path).strip("/").replace("/", "_")  # a.png and a.jpg: each has a mask
        box = 0, 0, *image.size
        if about["crop_border"]:  # with scipy
            find, margin = __import__("field_of_view").insonified_field, about.get("crop_margin", 0.0)
            box = find(np.atleast_3d(image).transpose(2, 0, 1), margin).corners
        part, (height, width) = image.crop(box), about["input_size"]
        a, b = part.size if about["geometry"] == "letterbox" else (width, height)  # whose aspect ratio is kept
        w = min(width, max(1, (2 * a * height + b) // (2 * b)))
        h = min(height, max(1, (2 * b * width + a) // (2 * a)))
        x, y, inputs = (width - w) // 2, (height - h) // 2, Image.new(image.mode, (width, height))
        inputs.paste(part.resize((w, h), resample), (x, y))
        found = session.run(about["outputs"], {"images": np.atleast_3d(inputs).transpose(2, 0, 1)[None]})
        for task, (scores,) in zip(about["outputs"], found, strict=True):
            shares = np.exp(scores - scores.max(axis=0), dtype=np.float64)
            shares /= shares.sum(axis=0)
            if task == "cls":
                twice = sum(other.name == path.name for other in paths) > 1
                table.add(str(path) if twice else path.name, shares.tolist())
            else:  # enlarged first, then the most probable label of each pixel
                maps = [Image.fromarray(share).crop((x, y, x + w, y + h)) for share in np.float32(shares)]
                maps = [share.resize(part.size, bilinear) for share in maps]
                sides = (box[1], image.height - box[3]), (box[0], image.width - box[2])
                labels = np.uint8(np.pad(np.argmax(maps, axis=0), sides))
                if steps := about.get("postprocessing"):  # with scipy
                    labels = __import__("postprocessing").postprocess(labels, **steps)
                Image.fromarray(labels).save(output / f"{name}.png")
    table.write()
    sys.exit("\n".join(excluded) or 0)
