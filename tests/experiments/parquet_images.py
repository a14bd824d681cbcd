"""Parquet files of encoded images, as Hugging Face's image data sets have them."""

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encode(pixels, kind="PNG"):
    """Pixels [H, W, 3] or [H, W] as the bytes of an image file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write(path, images, labels, class_names="china,flower", image="img"):
    """A Parquet file as Hugging Face's image data sets have it."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            image: pa.array([{"bytes": each, "path": f"{number}.png"} for number, each in enumerate(images)], kind),
            "label": pa.array(labels, pa.int64()),
        }
    )
    if class_names:
        table = table.replace_schema_metadata({"class_names": class_names})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)
