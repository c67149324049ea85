"""The site's search in Chromium, from files: names lead to their page, questions to the page that answers them."""

import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest

QUESTIONS = tomllib.loads((Path(__file__).parent / "questions.toml").read_text())["question"]

NAMES = {
    "nn.Linear": "nn/Linear",
    "linear": "nn/Linear",
    "torch.nn.Conv2d": "nn/Conv2d",
    "conv2d": "nn/Conv2d",
    "cross_entropy": "F/cross_entropy",
    "CrossEntropyLoss": "nn/CrossEntropyLoss",
    "cross entropy loss": "nn/CrossEntropyLoss",
    "F.relu": "F/relu",
    "adamw": "optim/adamw",
    "optim.sgd": "optim/sgd",
    "DataLoader": "data/DataLoader",
    "functionalize": "functionalize",
    "fn.grad": "grad",
    "vmap": "vmap",
    "BatchNorm2d": "nn/BatchNorm2d",
    "MultiheadAttention": "nn/MultiheadAttention",
    "LSTM": "nn/LSTM",
    "training.fit": "training/fit",
    "apply_updates": "optim/apply_updates",
    "save_weights": "checkpoint/save_weights",
    "parallel.shard": "parallel/shard",
    "Dropout": "nn/Dropout",
}
"""What is typed, and how the page's address ends."""


def search(site, browser, words):
    browser.go(f"{(site / 'search.html').as_uri()}?q={quote(words)}")
    browser.wait_for("document.querySelector('ul.search[data-state=ready]') !== null")
    return browser.evaluate(
        "[...document.querySelectorAll('ul.search li > a')].map((a) => a.dataset.page)"
    )


@pytest.mark.parametrize("words", NAMES)
def test_a_name_leads_to_its_page(site, browser, words):
    found = search(site, browser, words)[:2]
    assert any(page.endswith(f"/{NAMES[words]}") for page in found), found
    assert browser.complaints() == []


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q["words"].replace(" ", "-"))
def test_a_question_leads_to_its_answer(site, browser, question):
    found = search(site, browser, question["words"])[:5]
    assert set(found) & set(question["page"]), found


def test_thirty_questions_are_asked():
    assert len(QUESTIONS) >= 30
    assert len(NAMES) >= 20
    assert all("#" in question["asked"] for question in QUESTIONS)


def test_a_result_tells_what_the_page_says(site, browser):
    search(site, browser, "freeze layers")
    assert browser.evaluate("document.querySelector('ul.search .context').textContent.length") > 10


def test_words_that_nobody_wrote_find_nothing(site, browser):
    assert search(site, browser, "xyzzyplugh") == []
