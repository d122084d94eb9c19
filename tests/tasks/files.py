"""Small files in the real schemas of the data sets."""

import base64
import io

import datasets
import numpy as np
from PIL import Image


def picture(number=0, size=(12, 10)):
    """A plain picture whose colour depends on its number."""
    colour = ((37 * number) % 256, (91 * number) % 256, 120)
    return Image.new("RGB", size, colour)


def encoded(number=0):
    """The content of a PNG file."""
    stream = io.BytesIO()
    picture(number).save(stream, "PNG")
    return stream.getvalue()


def in_base64(number=0):
    return base64.b64encode(encoded(number)).decode()


def stored(number=0):
    """A picture as the datasets library keeps it."""
    return {"bytes": encoded(number), "path": f"{number}.png"}


def write_parquet(file, rows, *, several=False):
    """Rows with an `image` column of pictures, or lists of them, in one Parquet file."""
    image = datasets.Image()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    plain = datasets.Dataset.from_dict({k: v for k, v in columns.items() if k != "image"})
    features = datasets.Features(
        {**plain.features, "image": datasets.List(image) if several else image}
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(file)
    return str(file)


def write_tsv(file, rows):
    """Rows as VLMEvalKit writes them."""
    import pandas

    pandas.DataFrame(rows).to_csv(file, sep="\t", index=False)
    return str(file)


def every(task, *, seed=0):
    """All samples of both parts."""
    found = []
    for split in ("search", "heldout"):
        there = task.available(split)
        if there:
            found += task(split, there, seed=seed)
    return found


def outcomes_of(samples, said):
    """What each sample's judge gives for a text, float32 [samples]."""
    return np.array(
        [sample.scoring.judge(text) for sample, text in zip(samples, said, strict=True)],
        dtype=np.float32,
    )
