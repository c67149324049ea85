"""Files as people really have them: marks, encodings, line ends, quotes, links, wide pixels."""

import csv
import gzip
import io
import json
import os
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from funcnet import data

TEXT = "a\u2028b\x0cc\x0bd\x1ce\x85f ✓"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_in_any_encoding_with_any_line_end(tmp_path, encoding, end, packed):
    text = TEXT.replace("\u2028", " ").replace("✓", "ü") if encoding == "latin-1" else TEXT
    rows = [["x", "y"], [text, "1"], ["two" + end + "lines", text]]
    quoted = end.join(",".join(f'"{cell}"' if end in cell else cell for cell in r) for r in rows)
    values = [{"x": text}, {"x": 2}]
    lines = end.join(["", json.dumps(values[0], ensure_ascii=False), " \t ", json.dumps(values[1])])
    write = gzip.compress if packed else bytes
    (tmp_path / "a.csv").write_bytes(write(quoted.encode(encoding)))
    (tmp_path / "a.jsonl").write_bytes(write((lines + end).encode(encoding)))
    (tmp_path / "a.txt").write_bytes(write((text + end + end + "last").encode(encoding)))
    name = {"encoding": encoding} if encoding == "latin-1" else {}
    table = data.CsvDataset(tmp_path / "a.csv", **name)
    assert [table[k] for k in range(len(table))] == [
        dict(zip("xy", r, strict=True)) for r in rows[1:]
    ]
    objects = data.JsonLines(tmp_path / "a.jsonl", **name)
    assert [objects[k] for k in range(len(objects))] == values
    assert list(data.LineFile(tmp_path / "a.txt", **name)) == [text, "last"]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


CELLS = st.text(st.sampled_from('ab,;\t"\n\r \u2028ü'), max_size=5)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=5),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_csv_reads_what_python_writes(tmp_path, rows, delimiter, end):
    file = io.StringIO(newline="")
    # With "\n" as line end Python leaves a lone "\r" without quotes, and cannot read that back itself.
    quoting = csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([["first", "second"], *rows])
    dataset = data.CsvDataset(write(tmp_path / "a.csv", file.getvalue()), delimiter=delimiter)
    assert [list(dataset[k].values()) for k in range(len(dataset))] == rows


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(st.sampled_from('a,"\n'), max_size=14))
def test_csv_of_any_text_is_read_as_python_does_or_refused(tmp_path, text):
    """Python's strict reader, and no row of another length."""
    path = write(tmp_path / "a.csv", "x,y\n" + text)
    problem = str(path)
    try:
        dataset = data.CsvDataset(path)
        found = [list(dataset[k].values()) for k in range(len(dataset))]
    except ValueError as error:
        problem, found = str(error), None
    assert str(path) in problem
    try:
        rows = list(csv.reader(io.StringIO("x,y\n" + text, newline=""), strict=True))
        rows = [row for row in rows[1:] if row]
        expected = rows if all(len(row) == 2 for row in rows) else None
    except csv.Error:
        expected = None
    assert found == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('x,y\n1,2\n"3,4\n5,6\n', r"a\.csv, line 3: a quote opens that is never closed"),
        ('x,y\n1,"2" inch\n', r"a\.csv, line 2: text follows the closing quote"),
        ("x,y\n1,2\n\n1,2,3\n", r"a\.csv, line 4: 3 cells for 2 columns"),
        ("x,y\r\n1\r\n", r"a\.csv, line 2: 1 cells for 2 columns"),
        ("", r"a\.csv is empty"),
        ("\ufeff", r"a\.csv is empty"),
        ("x,x\n1,2\n", r"a\.csv has more than one column named x"),
        (b"x,y\n1,\xe4\n", r"a\.csv, line 2: not UTF-8 text.*pass encoding="),
        ("x,y\n1,2".encode("utf-16-le"), r"a\.csv, line 1: a zero byte"),
        (
            gzip.compress(b"x,y\n1,2\n" * 99, mtime=0)[:-9],
            r"a\.csv is a damaged or truncated gzip file",
        ),
    ],
)
def test_csv_refuses_with_file_line_and_reason(tmp_path, content, message):
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(ValueError, match=message):
        list(data.CsvDataset(path))


def test_csv_of_long_cells_and_quotes_in_the_middle(tmp_path):
    long = "x" * 200_000
    path = write(tmp_path / "a.csv", f'a,b\n{long},5" disk\n"{long}","say ""hi"""\n')
    rows = data.CsvDataset(path)
    assert rows[0] == {"a": long, "b": '5" disk'}
    assert rows[1] == {"a": long, "b": 'say "hi"'}
    typed = data.CsvDataset(write(tmp_path / "b.csv", "a\n1\nx\n"), {"a": int})
    with pytest.raises(ValueError, match=r"b\.csv, line 3, column a: invalid literal"):
        typed[1]


def test_json_lines_say_which_line(tmp_path):
    path = write(tmp_path / "a.jsonl", '\n{"x": 1}\n{"x": \n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3: Expecting value"):
        data.JsonLines(path)[1]
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: no field y"):
        data.JsonLines(path, ["y"])[0]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_arrow_columns_keep_dtype_and_shape(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(3, 2, 2))
    table = pa.table(
        {
            "f64": pa.array([1 / 3, 2, 3]),
            "i64": pa.array([2**40, 2, 3]),
            "flag": pa.array([True, False, True]),
            "list": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int16())),
            "fixed": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
            "deep": pa.array([[[1], [2]], [[3], [4]], [[5], [6]]], pa.list_(pa.list_(pa.int8()))),
            "tensor": tensors,
            "struct": pa.array([{"a": 1.5, "b": [k, k]} for k in range(3)]),
            "text": ["a", "b", "c"],
        }
    )
    path = str(tmp_path / f"a.{kind}")
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    dtypes = {"f64": "f8", "i64": "i8", "flag": "?", "list": "i2", "fixed": "f4", "deep": "i1"}
    shapes = {"list": (2,), "fixed": (2,), "deep": (2, 1), "tensor": (2, 2)}
    whole = data.ArrowDataset(path)
    for transforms in ([], [lambda row: row]):
        (batch,) = data.DataLoader(whole, 3, transforms=transforms)
        for name in [*dtypes, "tensor"]:
            assert batch[name].dtype == dtypes.get(name, "f8")
            assert batch[name].shape == (3, *shapes.get(name, ()))
        assert batch["struct"]["a"].dtype == np.float64
        assert batch["struct"]["b"].tolist() == [[0, 0], [1, 1], [2, 2]]
        assert batch["text"] == ["a", "b", "c"]
        np.testing.assert_array_equal(batch["tensor"], np.arange(12.0).reshape(3, 2, 2))
    fixed = data.ArrowDataset(path, ["f64", "fixed", "tensor"])
    assert fixed.gather(np.array([2, 0]))["fixed"].tolist() == [[5, 6], [1, 2]]
    assert data.ConcatDataset([fixed, fixed]).gather(np.array([5]))["tensor"].shape == (1, 2, 2)


def test_arrow_gaps_and_ragged_lists(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    ragged = [[1, 2], [], None]
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1, None, 3], "y": pa.array(ragged, pa.list_(pa.int8()))}), path)
    rows = data.ArrowDataset(path)
    assert rows[1]["x"] is None
    assert rows[1]["y"].dtype == np.int8
    assert rows[1]["y"].size == 0
    assert rows[2]["y"] is None
    with pytest.raises(ValueError, match=r"x is of type .* and NoneType in sample 1"):
        next(iter(data.DataLoader(rows, 3)))


def test_sixteen_bits_of_gray_are_scaled(tmp_path):
    pil = pytest.importorskip("PIL.Image")
    wide = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
    for name in ("a.png", "a.tiff"):
        pil.fromarray(wide).save(tmp_path / name)
        np.testing.assert_array_equal(data.read_image(tmp_path / name, "L"), wide >> 8)
        np.testing.assert_array_equal(data.read_image(tmp_path / name)[..., 1], wide >> 8)
        stored = data.read_image(tmp_path / name, None)
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored, wide)
    pil.fromarray(wide.astype(np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match=r"f\.tiff.*float32 have no range.*mode=None"):
        data.read_image(tmp_path / "f.tiff")


def test_linked_folders_count_and_what_begins_with_a_dot_does_not(tmp_path):
    pil = pytest.importorskip("PIL.Image")
    elsewhere = tmp_path / "elsewhere" / "more"
    elsewhere.mkdir(parents=True)
    pil.fromarray(np.zeros((2, 2), np.uint8)).save(elsewhere / "0.png")
    (elsewhere / "._0.png").write_bytes(b"of a Mac")
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / ".ipynb_checkpoints").mkdir()
    (root / "a" / "link").symlink_to(elsewhere.parent)
    (root / "b").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(elsewhere.parent)
    dataset = data.ImageFolder(root)
    assert dataset.classes == ["a", "b"]
    names = [path.relative_to(root).as_posix() for path in dataset.paths]
    assert names == ["a/link/more/0.png", "b/0.png"]
    assert dataset.labels.tolist() == [0, 1]


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_tar_leaves_out_what_a_mac_adds(tmp_path):
    members = [("._a.txt", b"?"), ("a.txt", b"x"), ("__MACOSX/a.txt", b"?"), (".DS_Store", b"?")]
    dataset = data.TarShards(tar(tmp_path / "a.tar", members))
    assert len(dataset) == 1
    assert dataset[-1] == {"__key__": "a", "txt": "x"}


def test_tar_refuses_what_would_lose_samples(tmp_path):
    path = tar(tmp_path / "a.tar", [(f"{k}.txt", b"x" * 600) for k in range(4)])
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[2 * 1536 + 10] ^= 255  # in the name of the third member
    for bad, message in (
        (damaged, "a damaged header at byte 3072"),
        (content[: 3 * 1536], "truncated: the mark of its end is missing at byte 4608"),
        (content[: 3 * 1536 + 700], r"a\.tar"),
        (content + content, "goes on after the end of its members"),
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=message):
            data.TarShards(path)
    with pytest.raises(ValueError, match=r"a\.txt at byte 1024 is there a second time"):
        data.TarShards(tar(path, [("a.txt", b"x"), ("a.txt", b"y")]))
    with pytest.raises(ValueError, match="more than once, but for their case"):
        data.TarShards(tar(path, [("a.txt", b"x"), ("a.TXT", b"y")]))
    wrong = data.TarShards(tar(path, [("a.cls", b"one")]))
    with pytest.raises(ValueError, match=r"a\.cls of .*a\.tar is not what \.cls says"):
        wrong[0]


def test_shards_take_one_descriptor_each_and_those_of_text_and_tar_few(tmp_path):
    names = [f"x{k}" for k in range(20)]
    paths, archives, texts = [], [], []
    for shard in range(70):
        paths.append(tmp_path / f"{shard}.safetensors")
        save_file({name: np.full(2, shard, np.float32) for name in names}, paths[-1])
        archives.append(tar(tmp_path / f"{shard}.tar", [("a.cls", str(shard).encode())]))
        texts.append(write(tmp_path / f"{shard}.jsonl", f"{shard}\n"))
    before = len(os.listdir("/proc/self/fd"))
    lines = data.ConcatDataset([data.JsonLines(path) for path in texts])
    assert list(lines) == list(range(70))
    assert len(os.listdir("/proc/self/fd")) <= before + 64
    del lines
    before = len(os.listdir("/proc/self/fd"))
    shards = data.safetensors_shards(paths)
    assert len(os.listdir("/proc/self/fd")) <= before + 70
    assert shards[139]["x7"] == 69
    loader = data.DataLoader(shards, 70, num_workers=1, workers="process")
    assert [batch["x19"][-1] for batch in loader] == [34, 69]
    del shards, loader
    dataset = data.TarShards(archives)
    before = len(os.listdir("/proc/self/fd"))
    assert [int(dataset[k]["cls"]) for k in range(70)] == list(range(70))
    assert len(os.listdir("/proc/self/fd")) <= before + 64


def test_tokens_beyond_32_bits_are_refused(tmp_path):
    np.array([1, 2**31], np.uint32).tofile(tmp_path / "t.bin")
    tokens = data.TokenFile(tmp_path / "t.bin", 1, dtype=np.uint32)
    assert tokens[0] == 1
    for read in (lambda: tokens[1], lambda: tokens.gather(np.array([1]))):
        with pytest.raises(ValueError, match=r"t\.bin must fit int32; got 2147483648"):
            read()
    np.save(tmp_path / "t.npy", np.ones(4))
    with pytest.raises(ValueError, match="one row of integers; got float64"):
        data.TokenFile(tmp_path / "t.npy", 1)
    with pytest.raises(TypeError, match="integers as indices; got float64"):
        data.write_tokens(tmp_path / "u.bin", [[1.5]])
