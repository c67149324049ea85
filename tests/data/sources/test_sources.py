"""Datasets in files."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from funcnet import data


def through(dataset, **more):
    """Load a dataset with a worker process, in batches of two."""
    return list(data.DataLoader(dataset, 2, num_workers=1, workers="process", **more))


@pytest.fixture
def pictures(tmp_path, rng):
    pil = pytest.importorskip("PIL.Image")
    for name in ("cats", "dogs"):
        (tmp_path / name / "more").mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 255, (4, 5, 3), dtype=np.uint8)
            pil.fromarray(pixels).save(tmp_path / name / "more" / f"{number}.PNG")
        (tmp_path / name / "notes.txt").write_text("not an image")
    return tmp_path


def test_image_folder(pictures):
    dataset = data.ImageFolder(pictures)
    assert dataset.classes == ["cats", "dogs"]
    assert [int(sample["label"]) for sample in (dataset[k] for k in range(4))] == [0, 0, 1, 1]
    first, second = through(dataset)
    assert first["image"].shape == (2, 4, 5, 3)
    assert second["label"].tolist() == [1, 1]
    assert data.ImageFolder(pictures, mode="L")[0]["image"].shape == (4, 5)
    encoded = dataset.paths[2].read_bytes()
    np.testing.assert_array_equal(data.read_image(encoded), dataset[2]["image"])


def test_image_folder_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="a folder for each class"):
        data.ImageFolder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image in .*empty; looked for .jpg"):
        data.ImageFolder(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines(tmp_path, end, last):
    lines = ["first", "", "zwölf ✓", "last"]
    (tmp_path / "a.txt").write_bytes((end.join(lines) + end * last).encode())
    dataset = data.LineFile(tmp_path / "a.txt")
    assert [dataset[k] for k in range(len(dataset))] == ["first", "zwölf ✓", "last"]
    (tmp_path / "empty").touch()
    assert len(data.LineFile(tmp_path / "empty")) == 0


def test_json_lines(tmp_path):
    rows = [{"x": k, "name": "n" * k, "deep": [{"a": None}]} for k in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = data.JsonLines(tmp_path / "a.jsonl")
    assert [dataset[k] for k in range(5)] == rows
    batches = through(data.JsonLines(tmp_path / "a.jsonl", ["x", "name"]))
    assert batches[1]["name"] == ["nn", "nnn"]
    assert batches[1]["x"].tolist() == [2, 3]


def test_a_broken_record_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n{"x": \n')
    with pytest.raises(data.SampleError, match=r"sample 1 of JsonLines\(.*JSONDecodeError"):
        list(data.DataLoader(data.JsonLines(tmp_path / "a.jsonl")))


def test_csv(tmp_path):
    text = 'x,y,note\n1,2.5,plain\n2,-1,"a, ""quoted""\nsecond line"\n\n3,0,\n'
    (tmp_path / "a.csv").write_text(text)
    dataset = data.CsvDataset(tmp_path / "a.csv")
    assert [dataset[k]["note"] for k in range(3)] == ["plain", 'a, "quoted"\nsecond line', ""]
    typed = data.CsvDataset(tmp_path / "a.csv", {"y": float, "x": int})
    assert typed[1] == {"y": -1.0, "x": 2}
    assert through(typed)[0]["x"].tolist() == [1, 2]
    with pytest.raises(KeyError, match=r"no columns \['z'\]; there are \['x', 'y', 'note'\]"):
        data.CsvDataset(tmp_path / "a.csv", {"z": int})
    (tmp_path / "b.csv").write_text("x;y\n1;2\n")
    assert data.CsvDataset(tmp_path / "b.csv", delimiter=";")[0] == {"x": "1", "y": "2"}


@pytest.mark.parametrize("stride", [None, 4, 9])
def test_token_windows(tmp_path, stride):
    documents = [np.arange(n) for n in (7, 20, 4)]
    assert data.write_tokens(tmp_path / "t.bin", documents) == 31
    tokens = np.concatenate(documents)
    dataset = data.TokenFile(tmp_path / "t.bin", 5, stride=stride)
    expected = [tokens[k : k + 5] for k in range(0, 27, stride or 5)]
    assert len(dataset) == len(expected)
    for k, window in enumerate(expected):
        np.testing.assert_array_equal(dataset[k], window)
    np.testing.assert_array_equal(dataset[-1], expected[-1])
    batches = through(dataset, shuffle=True)
    rows = np.concatenate(batches)
    order = data.Permutation(len(dataset))[:]
    np.testing.assert_array_equal(rows, np.stack(expected)[order])
    assert rows.dtype == np.int32


def test_token_files_refuse(tmp_path):
    (tmp_path / "odd").write_bytes(b"abc")
    with pytest.raises(ValueError, match="whole number of uint16 tokens"):
        data.TokenFile(tmp_path / "odd", 1)
    with pytest.raises(ValueError, match="must fit uint8; got some from 0 to 256"):
        data.write_tokens(tmp_path / "big", [range(257)], np.uint8)
    np.save(tmp_path / "t.npy", np.arange(6))
    assert data.TokenFile(tmp_path / "t.npy", 3)[1].tolist() == [3, 4, 5]


def test_safetensors_shards(tmp_path, rng):
    arrays = {"x": rng.normal(size=(10, 2, 3)).astype(np.float16), "y": np.arange(10)}
    paths = []
    for k, part in enumerate((slice(0, 3), slice(3, 4), slice(4, 10))):
        paths.append(tmp_path / f"{k}.safetensors")
        save_file({n: np.ascontiguousarray(a[part]) for n, a in arrays.items()}, paths[-1])
    dataset = data.safetensors_shards(paths)
    for batch in through(dataset, shuffle=True):
        np.testing.assert_array_equal(batch["x"], arrays["x"][batch["y"]])
    assert dataset.gather is not None
    (tmp_path / "cut").write_bytes(paths[2].read_bytes()[:-8])
    with pytest.raises(ValueError, match="truncated"):
        data.safetensors_shards(tmp_path / "cut")
    (tmp_path / "other").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(ValueError, match="not a safetensors file"):
        data.safetensors_shards(tmp_path / "other")


def write_tar(path, samples, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in samples.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_tar_shards(tmp_path):
    for shard in range(2):
        samples = {}
        for k in range(3):
            number = 3 * shard + k
            samples[f"a/{number}.v.npy"] = npy(np.full(2, number))
            samples[f"a/{number}.cls"] = str(number % 2).encode()
            samples[f"a/{number}.json"] = json.dumps({"n": number}).encode()
            samples[f"a/{number}.bin"] = bytes([number])
        write_tar(tmp_path / f"{shard}.tar", samples)
    dataset = data.TarShards([tmp_path / "0.tar", tmp_path / "1.tar"], {"bin": lambda b: b[0]})
    assert len(dataset) == 6
    sample = dataset[4]
    assert sample["__key__"] == "a/4"
    assert sample["json"] == {"n": 4}
    assert sample["bin"] == 4
    assert sample["v.npy"].tolist() == [4, 4]
    batches = through(dataset, shuffle=True)
    seen = [int(n) for batch in batches for n in batch["json"]["n"]]
    assert seen == data.Permutation(6)[:].tolist()
    with pytest.raises(IndexError):
        dataset[6]


def test_compressed_tar_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar.gz", {"a.txt": b"x"}, "w:gz")
    with pytest.raises(ValueError, match="uncompressed tar archive"):
        data.TarShards(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_arrow_and_parquet(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"x": np.arange(6) / 2, "i": np.arange(6), "name": list("abcdef")})
    paths = []
    for k in range(2):
        part = table.slice(3 * k, 3)
        paths.append(str(tmp_path / f"{k}.{'parquet' if kind == 'parquet' else 'arrow'}"))
        if kind == "parquet":
            pq.write_table(part, paths[-1])
        else:
            new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
            with new(paths[-1], part.schema) as writer:
                writer.write_table(part)
    rows = data.ArrowDataset(paths)
    assert rows[4] == {"x": 2.0, "i": 4, "name": "e"}
    assert rows[-1]["name"] == "f"
    assert rows.gather is None
    first = through(rows)[0]
    assert first["name"] == ["a", "b"]
    numbers = data.ArrowDataset(paths, ["i", "x"])
    batch = numbers.gather(np.array([5, 0]))
    assert batch["x"].tolist() == [2.5, 0.0]
    assert batch["i"].flags.writeable
    assert pickle.loads(pickle.dumps(numbers))[2] == {"i": 2, "x": 1.0}


def test_hugging_face_datasets_as_they_are():
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 2]})
    batches = list(data.DataLoader(rows, 2, shuffle=True, num_workers=2))
    assert sorted(text for batch in batches for text in batch["text"]) == ["a", "b", "c"]
    arrays = rows.select_columns(["label"]).with_format("numpy")
    assert next(iter(data.DataLoader(arrays, 3)))["label"].tolist() == [0, 1, 2]


def test_array_record(tmp_path):
    pytest.importorskip("array_record")
    from array_record.python.array_record_module import ArrayRecordWriter

    path = str(tmp_path / "a.array_record")
    writer = ArrayRecordWriter(path, "group_size:1")
    for k in range(5):
        writer.write(f"record {k}".encode())
    writer.close()
    dataset = data.ArrayRecordDataset(path, bytes.decode)
    assert len(dataset) == 5
    assert dataset[-1] == "record 4"
    batches = list(data.DataLoader(dataset, 2, shuffle=True))
    assert sorted(text for batch in batches for text in batch) == [f"record {k}" for k in range(5)]
    assert pickle.loads(pickle.dumps(dataset))[1] == "record 1"


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    import sys

    for name in ("PIL", "pyarrow", "array_record.python.array_record_data_source", "tokenizers"):
        monkeypatch.setitem(sys.modules, name, None)
    for call, extra in (
        (lambda: data.read_image(b""), "images"),
        (lambda: data.ArrowDataset("x.parquet"), "tables"),
        (lambda: data.ArrayRecordDataset("x"), "tables"),
        (lambda: data.Tokenizer("x"), "text"),
    ):
        with pytest.raises(ImportError, match=rf'pip install "funcnet\[{extra}\]"'):
            call()


def test_byte_tokenizer():
    tokenizer = data.ByteTokenizer(["<a>", "<b>"])
    assert tokenizer.vocab_size == 258
    text = "Zwölf Boxkämpfer ✓"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([*tokenizer.encode("x"), tokenizer.special["<b>"]]) == "x"


def test_trained_tokenizer(tmp_path):
    pytest.importorskip("tokenizers")
    text = data.shakespeare()[:50_000]
    tokenizer = data.Tokenizer.train([text], 400, special=["<end>"])
    assert tokenizer.vocab_size == 400
    assert tokenizer.token("<end>") == 0
    for sample in (text[:500], "Zwölf Boxkämpfer ✓\n\t end"):
        assert tokenizer.decode(tokenizer.encode(sample)) == sample
    assert len(tokenizer.encode(text)) < 0.7 * len(text)
    assert tokenizer.decode([0, *tokenizer.encode("x")]) == "x"
    assert tokenizer.decode([0], skip_special=False) == "<end>"
    tokenizer.save(tmp_path / "tokenizer.json")
    for other in (
        data.Tokenizer(tmp_path / "tokenizer.json"),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        np.testing.assert_array_equal(other.encode(text[:99]), tokenizer.encode(text[:99]))
    with pytest.raises(KeyError, match="no token '<no>'"):
        tokenizer.token("<no>")
    with pytest.raises(ValueError, match="vocab_size must hold 256 bytes"):
        data.Tokenizer.train([text], 100)
