"""Corpus BLEU is sacrebleu's for the same tokens, of tokens on the device and of strings on the host."""

import numpy as np
import pytest

from funcnet.training import metrics as M
from tests.training.metrics.routes import check

sacrebleu = pytest.importorskip("sacrebleu")

SENTENCES, LENGTH = 9, 12


def sentences(rng, words, longest, references=None):
    """Padded tokens of few words, so that n-grams repeat; a sentence may be empty."""
    shape = (SENTENCES,) if references is None else (SENTENCES, references)
    tokens = rng.integers(1, words + 1, (*shape, LENGTH))
    lengths = rng.integers(0, longest + 1, shape)
    return np.where(np.arange(LENGTH) < lengths[..., None], tokens, 0).astype(np.int32)


def strings(tokens):
    return [" ".join(str(token) for token in row if token) for row in tokens]


def sacre(outputs, targets, **settings):
    """sacrebleu's score; a reference that is not there is None."""
    targets = targets if targets.ndim == 3 else targets[:, None]
    streams = [strings(targets[:, r]) for r in range(targets.shape[1])]
    present = (targets != 0).any(-1)
    for r, stream in enumerate(streams):
        # a row without any reference has an empty one
        streams[r] = [
            text if present[row, r] or (r == 0 and not present[row].any()) else None
            for row, text in enumerate(stream)
        ]
    scorer = sacrebleu.BLEU(tokenize="none", **settings)
    return scorer.corpus_score(strings(outputs), streams).score


@pytest.mark.parametrize("references", [None, 1, 3])
@pytest.mark.parametrize(("words", "longest"), [(2, 12), (4, 12), (4, 5), (40, 12), (3, 2)])
def test_tokens_and_strings(words, longest, references, rng):
    metric = M.BLEU()
    outputs = sentences(rng, words, longest)
    targets = sentences(rng, words, longest, references)
    targets[1, ..., :] = outputs[1]  # one that is right
    some = rng.random(SENTENCES) < 0.6
    for mask in (np.ones(SENTENCES, bool), some):
        expected = sacre(outputs[mask], targets[mask])
        check(metric, rng, outputs, targets, mask, expected, rtol=1e-5)
    texts = strings(outputs)
    wanted = [strings(rows) if rows.ndim > 1 else strings([rows])[0] for rows in targets]
    if references == 3:  # of strings, a reference that is not there is not in the list
        wanted = [[text for text in several if text] or [""] for several in wanted]
    state = metric.update_texts(metric.init(), texts[:4], wanted[:4])
    state = metric.update_texts(state, texts[4:], wanted[4:])
    np.testing.assert_allclose(metric.compute(state), sacre(outputs, targets), rtol=1e-5)


@pytest.mark.parametrize("smooth", ["exp", "floor", "none"])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_smoothing_and_orders(smooth, order, rng):
    metric = M.BLEU(order=order, smooth=smooth)
    outputs, targets = sentences(rng, 60, 12), sentences(rng, 60, 12)  # hardly a bigram is right
    targets[:, 0] = outputs[:, 0]
    expected = sacre(outputs, targets, smooth_method=smooth, max_ngram_order=order)
    np.testing.assert_allclose(metric.measure(outputs, targets), expected, rtol=1e-5)


def test_nothing():
    metric = M.BLEU()
    assert np.isnan(metric.compute(metric.init()))
    none = np.zeros((2, 5), np.int32)
    assert metric.measure(none, none) == 0
    assert metric.measure(none + 1, none + 2) == 0


def test_of_the_paper():
    """Papineni and others' example 2: of seven times "the", two are right."""
    metric = M.BLEU(order=1)
    state = metric.update_texts(
        metric.init(),
        ["the the the the the the the"],
        [["the cat is on the mat", "there is a cat on the mat"]],
    )
    np.testing.assert_allclose(metric.compute(state), 100 * 2 / 7, rtol=1e-6)
