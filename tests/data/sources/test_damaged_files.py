"""Every file format, cut off, with bits turned over, empty and full of noise.

It is refused with its name, or read with as many samples as before, and where the format has a checksum
for what describes them, of the same dtypes and shapes: no sample may be lost or made up.
"""

import gzip
import io
import json
import tarfile
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from funcnet import data

ROWS = 6


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        for k in range(ROWS):
            file = io.BytesIO()
            np.save(file, np.full(3, k))
            for name, content in ((f"{k}.npy", file.getvalue()), (f"{k}.cls", b"%d" % k)):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def write_idx(path, pack=bytes):
    header = bytes([0, 0, 8, 2, 0, 0, 0, ROWS, 0, 0, 0, 3])
    path.write_bytes(pack(header + bytes(range(3 * ROWS))))


def write_image(path):
    pil = pytest.importorskip("PIL.Image")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    pil.fromarray(pixels).save(path)


def write_table(path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"x": np.arange(ROWS) / 2, "name": [f"n{k}" for k in range(ROWS)]})
    if path.suffix == ".parquet":
        pq.write_table(table, path, write_page_checksum=True)
        return
    new = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
    with new(path, table.schema) as writer:
        writer.write_table(table)


def write_records(path):
    pytest.importorskip("array_record")
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for k in range(ROWS):
        writer.write(b"record %d" % k)
    writer.close()


def lines(values, pack=bytes):
    return lambda path: path.write_bytes(pack("".join(f"{v}\n" for v in values).encode()))


X = np.arange(3 * ROWS, dtype=np.float32).reshape(ROWS, 3)
OBJECTS = [json.dumps({"x": k, "name": "n" * k}) for k in range(ROWS)]
TABLE = ["x,name", *(f"{k},name {k}" for k in range(ROWS))]
FORMATS = {
    "a.csv": (lines(TABLE), lambda p: data.CsvDataset(p, {"x": int, "name": str})),
    "a.csv.gz": (lines(TABLE, gzip.compress), lambda p: data.CsvDataset(p, {"x": int})),
    "a.jsonl": (lines(OBJECTS), lambda p: data.JsonLines(p, ["x", "name"])),
    "a.npy": (lambda p: np.save(p, X), data.ArrayDataset.load),
    "a.npz": (lambda p: np.savez(p, x=X), data.ArrayDataset.load),
    "small.npz": (lambda p: np.savez_compressed(p, x=X), data.ArrayDataset.load),
    "a.safetensors": (lambda p: save_file({"x": X}, p), data.safetensors_shards),
    "a.tar": (write_tar, data.TarShards),
    "a.idx": (write_idx, data.read_idx),
    "a.idx.gz": (lambda p: write_idx(p, gzip.compress), data.read_idx),
    "a.png": (write_image, lambda p: [data.read_image(p)]),
    "a.bmp": (write_image, lambda p: [data.read_image(p)]),
    "a.jpg": (write_image, lambda p: [data.read_image(p)]),
    "a.parquet": (write_table, data.ArrowDataset),
    "a.arrow": (write_table, data.ArrowDataset),
    "a.arrows": (write_table, data.ArrowDataset),
    "a.array_record": (write_records, lambda p: data.ArrayRecordDataset(p, bytes.decode)),
}


def outline(value):
    if isinstance(value, dict):  # names have no checksum in most formats
        return [outline(child) for child in value.values()]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype, value.shape
    return type(value)


def damages(content, rng):
    size = len(content)
    yield "empty", b""
    yield "noise", rng.bytes(300)
    yield "zeros", bytes(size)
    yield "text", b"<html><body>404 Not Found</body></html>\n"
    for cut in np.linspace(1, size - 1, 12).astype(int).tolist():
        yield f"cut at {cut}", content[:cut]
    for place in rng.integers(0, size, 40).tolist():
        turned = bytearray(content)
        turned[place] ^= 1 << int(rng.integers(8))
        yield f"bit turned at {place}", bytes(turned)


CHECKED = ("a.csv.gz", "a.npz", "small.npz", "a.tar", "a.idx.gz", "a.png", "a.array_record")
# What a text file says after some damage may be well-formed: then it has fewer rows, as any reader finds.
TEXTS = ("a.csv", "a.jsonl")


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_named_or_harmless(tmp_path, name, rng):
    write, read = FORMATS[name]
    path = tmp_path / name
    write(path)
    content = path.read_bytes()
    intact = [outline(sample) for sample in read(path)]
    refused = 0
    for what, damaged in damages(content, rng):
        path.unlink()
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of odd tags
                dataset = read(path)
                found = [outline(dataset[k]) for k in range(len(dataset))]
        except (ValueError, KeyError) as error:
            text = str(error)
            refused += 1
            assert str(path) in text, (what, text)
            continue
        if name in CHECKED:
            assert found == intact, what
        elif name in TEXTS:
            assert all(sample == intact[0] for sample in found), what
        else:
            assert len(found) == len(intact), what
    assert refused >= 4


def test_an_index_that_lists_fewer_batches_is_refused(tmp_path):
    """Every bit of an Arrow file's index is turned: no row is lost in silence."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"x": np.arange(24)})
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        for batch in table.to_batches(4):
            writer.write_batch(batch)
    content = path.read_bytes()
    begin = len(content) - 10 - int.from_bytes(content[-10:-6], "little")
    refused = 0
    for place in range(begin, len(content) - 10):
        for bit in range(8):
            turned = bytearray(content)
            turned[place] ^= 1 << bit
            path.write_bytes(bytes(turned))
            try:
                dataset = data.ArrowDataset(path)
            except ValueError as error:
                refused += "index lists" in str(error)
            else:
                assert len(dataset) == 24, (place, bit)
    assert refused > 0
