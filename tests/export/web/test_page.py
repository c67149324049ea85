"""Pages in headless Chromium, from a disk and without a network: their answers are JAX's."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs funcnet[onnx]")

import funcnet as fn
from funcnet import export, nn
from funcnet.core.errors import ExportError
from funcnet.export.web.runtime import find_runtime
from tests.browser import Browser


@pytest.fixture(scope="module")
def runtime():
    try:
        return find_runtime(None, webgpu=False).code.parents[1]
    except (FileNotFoundError, ExportError) as error:
        pytest.skip(f"needs onnxruntime-web: {error}")


@pytest.fixture(scope="module")
def browser():
    made = Browser()
    yield made
    made.close()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A network that also tells what moved its answer."""
    net = fn.functionalize(
        nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 10))
    )
    params, state = net.init(jax.random.key(1))

    def read(params, state, image):
        def winning(image):
            logits = net.apply(params, state, image)[0]
            return jnp.max(logits, -1).sum(), logits

        moved, logits = jax.grad(winning, has_aux=True)(image)
        return {"logits": logits, "moved": moved}, state

    path = tmp_path_factory.mktemp("digits") / "model.onnx"
    export.onnx(path, read, params, state, export.spec(("batch", 1, 28, 28), name="image"))
    return path, jax.jit(lambda image: read(params, state, image)[0])


@pytest.fixture(scope="module")
def samples():
    return fn.data.mnist()[1][:3]["image"]


@pytest.fixture(scope="module")
def page(digits, runtime, samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    title = "</script><b>@title@ & more"
    options = {
        "title": title,
        "pixels": (-1.0, 2.0),
        "samples": samples,
        "webgpu": False,
        "runtime": runtime,
    }
    return export.web(folder, digits[0], "digit", **options)


def url(page):
    return page.resolve().as_uri()


def answer_of(function, pixels):
    """JAX's answer to pixels from 0 to 1, as the page feeds them."""
    image = np.float32(-1 + 3 * np.asarray(pixels, np.float64)).reshape(1, 1, 28, 28)
    return {name: np.asarray(each).ravel() for name, each in function(image).items()}


def ask(browser, pixels):
    return browser.evaluate(f"funcnet.predict({json.dumps(np.asarray(pixels).ravel().tolist())})")


def check(found, expected):
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["moved"], expected["moved"], rtol=1e-5, atol=1e-5)
    shares = np.exp(expected["logits"] - expected["logits"].max())
    np.testing.assert_allclose(found["probabilities"], shares / shares.sum(), atol=1e-5)


def test_a_page_of_digits_answers_what_jax_answers(browser, page, digits, samples, rng):
    browser.open(url(page))
    for pixels in (rng.random((28, 28)), np.zeros((28, 28)), samples[0] / 255):
        check(ask(browser, pixels), answer_of(digits[1], pixels))
    assert browser.evaluate("document.title") == "</script><b>@title@ & more"
    addresses = browser.requested()
    assert addresses
    assert not [each for each in addresses if not each.startswith(("file:", "blob:null/", "data:"))]
    assert not browser.complaints()


def test_a_drawn_digit_is_centred_as_mnist_has_it_and_read(browser, page, digits):
    browser.open(url(page))
    box = (
        "(({x, y, width}) => [x, y, width])(document.getElementById('pad').getBoundingClientRect())"
    )
    x, y, width = browser.evaluate(box)
    turn = [2 * math.pi * i / 24 for i in range(25)]
    browser.drag(
        [
            (x + width * (0.3 + 0.1 * math.sin(t)), y + width * (0.4 - 0.2 * math.cos(t)))
            for t in turn
        ]
    )
    shown = browser.wait_for("document.getElementById('winner').dataset.value || ''")
    pixels = np.array(browser.evaluate("Array.from(funcnet.centred())")).reshape(28, 28)
    rows, columns = np.nonzero(pixels > 0.05)
    assert 18 <= np.ptp(rows) + 1 <= 21
    assert np.ptp(columns) + 1 <= 14
    centre = [(pixels.sum(axis) * (np.arange(28) + 0.5)).sum() / pixels.sum() for axis in (0, 1)]
    np.testing.assert_allclose(centre, 14, atol=0.51)
    expected = answer_of(digits[1], pixels)
    assert shown == str(expected["logits"].argmax())
    check(ask(browser, pixels), expected)
    browser.evaluate("document.getElementById('undo').click()")
    browser.wait_for("document.getElementById('winner').textContent === '\\u2013'")
    assert not browser.complaints()


def test_a_sample_is_chosen_with_the_keyboard(browser, page, digits, samples):
    browser.open(url(page), width=390, height=844, mobile=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    browser.evaluate("document.querySelectorAll('.samples button')[1].focus()")
    browser.send("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r")
    browser.send("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter")
    expected = answer_of(digits[1], samples[1] / 255)
    shown = browser.wait_for("document.getElementById('winner').dataset.value || ''")
    assert shown == str(expected["logits"].argmax())
    shares = browser.evaluate(
        "[...document.querySelectorAll('#bars li')].map((e) => +e.dataset.share)"
    )
    powers = np.exp(expected["logits"] - expected["logits"].max())
    np.testing.assert_allclose(shares, powers / powers.sum(), atol=1e-5)


def test_the_runtime_may_lie_beside_the_page(browser, digits, runtime, tmp_path, rng):
    page = export.web(tmp_path, digits[0], webgpu=False, inline=False, runtime=runtime)
    assert page.stat().st_size < 300_000
    browser.open(url(page))
    pixels = rng.random((28, 28))
    image = np.float32(pixels).reshape(1, 1, 28, 28)
    found = ask(browser, pixels)["logits"]
    np.testing.assert_allclose(found, np.ravel(digits[1](image)["logits"]), rtol=1e-5, atol=1e-5)
    (tmp_path / "runtime.js").unlink()
    assert "runtime.js is not beside this page" in problem(browser, page)


def problem(browser, page):
    with pytest.raises(AssertionError):
        browser.open(url(page))
    assert browser.evaluate("!document.getElementById('problem').hidden")
    return browser.evaluate("document.getElementById('problem').textContent")


@pytest.mark.slow
def test_a_page_runs_by_webgpu_and_without_one(browser, digits, runtime, tmp_path, rng):
    page = export.web(tmp_path, digits[0], runtime=runtime)
    pixels = rng.random((28, 28))
    expected = digits[1](np.float32(pixels).reshape(1, 1, 28, 28))
    found = {}
    browser.open(url(page))
    found[browser.evaluate("engine.name")] = ask(browser, pixels)
    other = Browser(gpu=True)
    try:
        other.open(url(page))
        found[other.evaluate("engine.name")] = ask(other, pixels)
        assert not other.complaints()
        if "webgpu" in found:
            other.evaluate("$('engine').value = 'wasm'; $('engine').onchange()")
            check(ask(other, pixels), {name: np.ravel(each) for name, each in expected.items()})
            assert other.evaluate("engine.name") == "wasm"
    finally:
        other.close()
    assert "wasm" in found
    for each in found.values():
        check(each, {name: np.ravel(value) for name, value in expected.items()})
    if "webgpu" not in found:
        pytest.skip("this Chromium has no WebGPU")


def test_a_model_that_the_browser_cannot_run_is_told_in_words(browser, runtime, tmp_path):
    import onnx

    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 784])
    scores = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 10])
    node = onnx.helper.make_node("Riddle", ["image"], ["scores"], domain="example.nowhere")
    graph = onnx.helper.make_graph([node], "model", [image], [scores])
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("example.nowhere", 1)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx"
    )
    page = export.web(tmp_path, tmp_path / "m.onnx", webgpu=False, runtime=runtime)
    told = problem(browser, page)
    assert told.startswith("The model could not be started")
    assert "Riddle" in told


# ---- text ----------------------------------------------------------------------------------------

VOCABULARY = ["a", "b", "\n", "<", "é", "/script>"]


class Tiny(nn.Module):
    """Logits that depend on all tokens so far and on their places."""

    def __init__(self):
        self.embedding = nn.Embedding(len(VOCABULARY), 16)
        self.head = nn.Linear(16, len(VOCABULARY))

    def __call__(self, tokens):
        return self.head(jnp.tanh(jnp.cumsum(2 * self.embedding(tokens), axis=1)))


@pytest.mark.parametrize("time", ["time", 6])
def test_a_page_of_text_writes_what_jax_writes(browser, runtime, tmp_path, time):
    net = fn.functionalize(Tiny())
    params, state = net.init(jax.random.key(5))
    tokens = export.spec(("batch", time), jnp.int32, "tokens")
    export.onnx(tmp_path / "m.onnx", net, params, state, tokens)
    options = {
        "vocabulary": VOCABULARY,
        "context": 6,
        "prompt": "ab<é",
        "webgpu": False,
        "runtime": runtime,
    }
    browser.open(url(export.web(tmp_path, tmp_path / "m.onnx", "text", **options)))

    def logits(tokens):
        seen = tokens[-6:]
        return np.asarray(net.apply(params, state, jnp.array([seen], jnp.int32))[0])[0, -1]

    for given in ([0], [1, 2, 3], [0, 1, 2, 3, 4, 5, 0, 1]):
        found = browser.evaluate(f"funcnet.logitsAfter({given})")["logits"]
        np.testing.assert_allclose(found, logits(given), rtol=1e-5, atol=1e-5)
    assert browser.evaluate("funcnet.encoded('a</script>?é')") == {
        "tokens": [0, 3, 5, 4],
        "unknown": ["?"],
    }
    written = [0, 1, 3, 4]
    for _ in range(20):
        written.append(int(logits(written).argmax()))
    browser.evaluate("document.getElementById('temperature').value = 0")
    browser.evaluate("document.getElementById('length').value = 20")
    browser.evaluate("document.getElementById('start').click()")
    browser.wait_for("document.body.dataset.writing === 'false'")
    shown = browser.evaluate("document.getElementById('written').textContent")
    assert shown == "".join(VOCABULARY[token] for token in written)
    settings = "{length: 30, temperature: 1, likeliest: 6, seed: %d}"
    drawn = [browser.evaluate(f"funcnet.write('a', {settings % seed})") for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert not browser.complaints()


# ---- refusals ------------------------------------------------------------------------------------


def written(path, shape, out, dtype=jnp.float32):
    net = lambda params, state, x: (jnp.zeros((x.shape[0], *out)) + x.sum() * 0.0, state)
    export.onnx(path, net, {}, {}, export.spec(shape, dtype, "x"), verify=False)
    return path


REFUSED = [
    (("batch", 27, 28), (10,), "digit", {}, "one image of 28 x 28 pixels"),
    (("batch", 784), (9,), "digit", {}, "one float32 for each of 10 labels"),
    (("batch", 784), (10,), "text", {"vocabulary": "ab"}, "the page feeds tokens"),
]


@pytest.mark.parametrize(("shape", "out", "kind", "more", "message"), REFUSED, ids=lambda v: str(v))
def test_a_model_of_another_kind_is_refused(tmp_path, shape, out, kind, more, message):
    model = written(tmp_path / "m.onnx", shape, out)
    with pytest.raises(ExportError, match=message):
        export.web(tmp_path / "page", model, kind, **more)
    assert not (tmp_path / "page").exists()


def test_other_arguments_that_do_not_suit_are_told(tmp_path, digits):
    path = digits[0]
    with pytest.raises(ValueError, match="kind is one of digit, text"):
        export.web(tmp_path, path, "sound")
    with pytest.raises(ValueError, match="needs vocabulary="):
        export.web(tmp_path, path, "text")
    with pytest.raises(ValueError, match="nothing stands twice"):
        export.web(tmp_path, path, "text", vocabulary="aa")
    with pytest.raises(FileNotFoundError, match=r"write it with export\.onnx"):
        export.web(tmp_path, tmp_path / "none.onnx")
    with pytest.raises(FileNotFoundError, match="there is no onnxruntime-web in"):
        export.web(tmp_path, path, runtime=tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match="not a model that a page can hold"):
        export.web(tmp_path, tmp_path / "broken.onnx")


def test_without_npm_it_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run `npm install onnxruntime-web@"):
        find_runtime(None, webgpu=True)


def test_node_modules_here_and_above_are_found(tmp_path, monkeypatch):
    package = tmp_path / "node_modules" / "onnxruntime-web"
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text('{"version": "0.1"}')
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(FileNotFoundError, match=r"is onnxruntime-web 0\.1, which has no ort\.wasm"):
        find_runtime(None, webgpu=False)
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (package / "dist" / name).touch()
    assert find_runtime(None, webgpu=False).version == "0.1"
    for spelled in (tmp_path, package, package / "dist", tmp_path / "node_modules"):
        assert find_runtime(spelled, webgpu=False).code.parents[1] == package


def test_the_command_writes_a_page(tmp_path, digits, runtime, capsys):
    from funcnet.export.__main__ import command_line

    options = ["--runtime", str(runtime), "--no-webgpu", "--pixels", "0,255"]
    assert command_line(["web", str(tmp_path), "--model", str(digits[0]), *options]) == 0
    assert str(tmp_path / "index.html") in capsys.readouterr().out
    assert command_line(["web", str(tmp_path), "--model", str(digits[0]), "--pixels", "x"]) == 1
    assert "--pixels takes two numbers" in capsys.readouterr().err
