"""Measured numbers on pages: made of the files that benchmarks wrote, and never typed."""

import argparse
import json
import platform

import pytest

from benchmarks import results_pages
from benchmarks.results_file import ResultsFile, add_json_argument
from docs.generation import ratios
from tests.meta.source import ROOT


@pytest.mark.parametrize("name", ratios.PAGES)
def test_pages_hold_what_the_results_make(name):
    text = (ROOT / name).read_text()
    assert ratios.filled(text) == text, "python -m docs.generation.ratios"
    assert any(f"<!-- {block} -->" in text for block in ratios.BLOCKS)


def test_results_are_laid_out_as_they_are():
    for path, text in results_pages.pages().items():
        assert path.read_text() == text, f"{path.name} is old: python -m docs.generation.ratios"


def test_every_result_says_when_and_on_what():
    for path in results_pages.RESULTS.glob("*.json"):
        content = json.loads(path.read_text())
        assert content["date"] >= "2026"
        assert content["machine"]
        assert path.stem.startswith("gpu-") or content["command"].startswith(
            "python -m benchmarks."
        )
        assert platform.node() not in path.read_text()


def test_a_file_and_its_page(tmp_path, monkeypatch):
    path = tmp_path / "results" / "models.json"
    monkeypatch.setattr("sys.argv", ["x", "--only", "a b", "--json", str(path), "--rounds", "2"])
    parser = argparse.ArgumentParser()
    add_json_argument(parser)
    args, _ = parser.parse_known_args()
    results = ResultsFile(args.json, "models", "wall clock")
    results.add("MLP", {"torch": 0.002, "funcnet": 0.001}, "torch", mebibytes={"torch": 3.0})
    content = json.loads(path.read_text())
    assert content["command"] == 'python -m benchmarks.models --only "a b" --rounds 2'
    assert content["tables"][0]["sides"] == {
        "torch": {"value": 2.0, "ratio": 1.0, "mebibytes": 3.0},
        "funcnet": {"value": 1.0, "ratio": 0.5},
    }
    monkeypatch.setattr(results_pages, "RESULTS", path.parent)
    (page,) = results_pages.pages().values()
    assert "| MLP | torch | 2.00 | 3.00 | 1 |" in page
    assert "| MLP | funcnet | 1.00 | | 0.50 |" in page
    assert content["versions"]["jax"] in page


def test_nothing_is_written_without_a_file():
    results = ResultsFile(None, "models", "wall clock")
    results.add("MLP", {"torch": 1.0}, "torch")
    assert results.content["tables"]
