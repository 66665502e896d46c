"""What the emoji captioner must beat: the most frequent caption, and the caption of the nearest training drawing.

    python benches/baselines.py            (needs numpy and Pillow; run in the repository's folder)

A drawing is described by its histograms of oriented gradients (the formula of shaders/hog.wgsl, at 48 pixels) and, at half the weight,
by the mean ink of an 8 x 8 grid; each part is scaled to length 1, and the nearest drawing is that of the largest cosine. The weight
was not tuned on any test.
"""

import base64
import collections
import csv
import io

import numpy as np
from PIL import Image

SIDE, COLOUR_WEIGHT = 48, 0.5
TRAINING = ["noto", "noto-v1", "twemoji", "fluent", "emojione", "streamline"]
TESTS = {"dev (fxemoji)": "fxemoji", "composition": "composition", "test (OpenMoji)": "openmoji/openmoji"}


def read(name):
    """Pictures [n, SIDE, SIDE, 3] from 0 to 1, and captions."""
    csv.field_size_limit(1 << 30)
    with open(f"data/emoji/{name}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    decode = lambda text: Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.stack([np.asarray(decode(row["b64string_images"]), np.float32) / 255 for row in rows]), [row["caption"] for row in rows]


def pooled(planes, size, stride, padding):
    """Means over windows, with zeros around: [n, h, w, c] -> [n, h / stride, w / stride, c]."""
    planes = np.pad(planes, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    count = (planes.shape[1] - size) // stride + 1
    reach = (count - 1) * stride + 1
    windows = (planes[:, y : y + reach : stride, x : x + reach : stride] for y in range(size) for x in range(size))
    return sum(windows) / size**2


def gradients(pictures):
    around = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    gx = around[:, 1:-1, 2:] - around[:, 1:-1, :-2]
    gy = around[:, 2:, 1:-1] - around[:, :-2, 1:-1]
    longest = np.argmax(gx**2 + gy**2, axis=3)[..., None]
    gx, gy = (np.take_along_axis(g, longest, axis=3) for g in (gx, gy))
    apart = np.abs(np.arctan2(gy, gx) * 8 / np.pi % 8 - np.arange(8))
    bins = np.maximum(0, 1 - np.minimum(apart, 8 - apart)) * np.hypot(gx, gy)
    cells = pooled(bins, 4, 2, 1)
    energy = pooled((cells**2).sum(3, keepdims=True), 3, 1, 1)
    return np.minimum(cells / (np.sqrt(energy) + 0.02), 1)


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def describe(pictures):
    parts = []
    for some in np.array_split(pictures, max(1, len(pictures) // 256)):
        ink = pooled(1 - some, SIDE // 8, SIDE // 8, 0)
        parts.append(np.hstack([unit(gradients(some).reshape(len(some), -1)), COLOUR_WEIGHT * unit(ink.reshape(len(some), -1))]))
    return unit(np.vstack(parts))


def main():
    files = [read(name) for name in TRAINING]
    captions = [caption for _, more in files for caption in more]
    known = np.vstack([describe(pictures) for pictures, _ in files])
    frequent, times = collections.Counter(captions).most_common(1)[0]
    print(f"{len(captions)} drawings to train on; most frequent caption: {frequent!r}, {times} times")
    for title, name in TESTS.items():
        pictures, truths = read(name)
        nearest = np.argmax(describe(pictures) @ known.T, axis=1)
        exact = np.mean([captions[index] == truth for index, truth in zip(nearest, truths)])
        constant = np.mean([truth == frequent for truth in truths])
        print(f"{title:16} {len(truths):5} drawings   most frequent caption {constant:.4f}   nearest neighbour {exact:.4f}")


if __name__ == "__main__":
    main()
