"""The example: its page answers what its function answers, also which pixels moved it."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs funcnet[onnx]")
pytest.importorskip("matplotlib", reason="needs funcnet[examples]")

import funcnet as fn
from examples.mnist import DigitNet
from examples.web_digits.__main__ import write_page
from funcnet.core.errors import ExportError
from funcnet.export.web.runtime import find_runtime
from tests.browser import Browser, needs_browser


@pytest.mark.slow
def test_the_page_of_the_example(tmp_path):
    needs_browser()
    try:
        find_runtime(None, webgpu=False)
    except (FileNotFoundError, ExportError) as error:
        pytest.skip(f"needs onnxruntime-web: {error}")
    model = DigitNet()
    params, state = fn.functionalize(model).init(jax.random.key(3))
    page, read = write_page(tmp_path, model, params, state, webgpu=False)
    ink = fn.data.mnist()[1][:2]["image"] / 255.0
    browser = Browser()
    try:
        browser.open(page.resolve().as_uri())
        assert browser.evaluate("document.querySelectorAll('.samples button').length") == 10
        for each in ink:
            found = browser.evaluate(f"funcnet.predict({json.dumps(each.ravel().tolist())})")
            expected = read(params, state, np.float32(each).reshape(1, 1, 28, 28))[0]
            for name in ("logits", "moved"):
                values = np.ravel(expected[name])
                scale = np.abs(values).max()
                np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5 * scale)
        assert not browser.complaints()
    finally:
        browser.close()
