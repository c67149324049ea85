"""What the server answers, in this process: formats, batches, limits, times."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs funcnet[serve]")
pytest.importorskip("httpx2", reason="needs funcnet[test-export]")
from funcnet.export.serving.application import make_application
from funcnet.export.serving.formats import arrays_from_bytes, arrays_to_bytes
from tests.export.serving.services import double, served, service, spec

BINARY = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}


class Client:
    """A client of an application that runs, warmed up."""

    def __init__(self, *functions, wait=True, hosts=None, **options):
        self.service = service(*functions, **options)
        self.wait = wait
        from starlette.testclient import TestClient

        application = make_application(self.service, hosts)
        self.http = TestClient(application, base_url="http://127.0.0.1")

    def __enter__(self):
        self.http.__enter__()
        until = time.monotonic() + 10
        while self.wait and not self.service.ready and time.monotonic() < until:
            time.sleep(0.002)
        return self

    def __exit__(self, *error):
        self.http.__exit__(*error)

    def get(self, path):
        return self.http.get(path)

    def post(self, content, path="/predict", headers=JSON):
        if not isinstance(content, bytes) and headers is JSON:
            content = json.dumps(content).encode()
        return self.http.post(path, content=content, headers=headers)


def test_health_tells_when_the_model_is_ready():
    function, _ = double(seconds=0.05)
    with Client(function, wait=False) as client:
        assert client.get("/health/live").json() == {"live": True}
        early = client.get("/health/ready")
        assert (early.status_code, early.json()["why"]) == (503, "warming up")
        assert client.post({"inputs": [[1, 2, 3]]}).status_code == 503
        while client.get("/health/ready").status_code != 200:
            time.sleep(0.01)
        assert client.post({"inputs": [[1, 2, 3]]}).json() == {"outputs": {"y": [[2.0, 4.0, 6.0]]}}


def test_a_model_that_fails_at_the_start_says_so_and_stops_the_server():
    def broken(x):
        raise RuntimeError("no such device")

    function, _ = served(broken, [spec(("batch",))], [spec(("batch",))])
    stopped = threading.Event()
    client = Client(function, wait=False)
    client.service.on_failure = stopped.set
    with client:
        assert stopped.wait(5)
        answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["why"]) == (503, "RuntimeError: no such device")


def test_metadata_describes_the_functions():
    function, _ = double()
    with Client(function) as client:
        told = client.get("/metadata").json()
    assert told == {
        "name": "tried",
        "metadata": {"note": "a"},
        "written_by": {"funcnet": "0.1.0"},
        "functions": {
            "call": {
                "inputs": [{"name": "x", "dtype": "F32", "shape": ["batch", 3]}],
                "outputs": [{"name": "y", "dtype": "F32", "shape": ["batch", 3]}],
                "symbols": ["batch"],
                "joins": True,
                "batches": [1, 4, 8],
            }
        },
    }


def test_both_formats_in_and_out(rng):
    x = rng.normal(size=(3, 3)).astype(np.float32)
    function, _ = double()
    with Client(function) as client:
        as_json = client.post({"inputs": {"x": x.tolist()}})
        assert np.float32(as_json.json()["outputs"]["y"]).tolist() == (2 * x).tolist()
        body = arrays_to_bytes({"x": x})
        as_bytes = client.post(body, "/predict/call", BINARY)
        assert as_bytes.headers["content-type"] == "application/octet-stream"
        np.testing.assert_array_equal(arrays_from_bytes(as_bytes.content)["y"], 2 * x)
        crossed = client.post(body, headers={**BINARY, "accept": "application/json"})
        assert crossed.json() == as_json.json()


def test_large_bodies_are_read_beside_the_event_loop(rng):
    x = rng.normal(size=(5000, 3)).astype(np.float32)
    function, _ = double()
    with Client(function) as client:
        answer = client.post(arrays_to_bytes({"x": x}), headers=BINARY)
        np.testing.assert_array_equal(arrays_from_bytes(answer.content)["y"], 2 * x)
        answer = client.post({"inputs": x.tolist()})
        assert np.float32(answer.json()["outputs"]["y"]).tolist() == (2 * x).tolist()


F32 = np.float32
REFUSED = [
    (b"{", "/predict", JSON, 400, "not JSON"),
    (b"{", "/predict", BINARY, 400, "not a safetensors file"),
    (b"{}", "/predict", {"content-type": "text/plain"}, 415, "got content type 'text/plain'"),
    (b"{}", "/predict", {}, 415, "send application/json"),
    ({"inputs": [[1, 2, 3]]}, "/predict/other", JSON, 404, "no function 'other'; there are call"),
    (
        {"inputs": [[1, 2]]},
        "/predict",
        JSON,
        422,
        r"expected float32\[batch, 3\], got float32\[1, 2\]",
    ),
    ({"inputs": [1, 2, 3]}, "/predict", JSON, 422, r"got float32\[3\]"),
    ({"inputs": []}, "/predict", JSON, 422, r"got float32\[0\]"),
    ({"inputs": {"z": [1]}}, "/predict", JSON, 422, "takes the inputs x: no x and unknown z"),
    ({"inputs": {}}, "/predict", JSON, 422, "takes the inputs x: no x"),
    (arrays_to_bytes({"x": np.zeros((1, 3))}), "/predict", BINARY, 422, r"got float64\[1, 3\]"),
    (arrays_to_bytes({"x": F32(np.zeros((0, 3)))}), "/predict", BINARY, 422, "one row at least"),
]


@pytest.mark.parametrize(("content", "path", "headers", "status", "message"), REFUSED, ids=str)
def test_wrong_requests_are_told_what_to_send(content, path, headers, status, message):
    import re

    function, counted = double()
    with Client(function) as client:
        calls = len(counted.calls)
        answer = client.post(content, path, headers)
        assert answer.status_code == status, answer.text
        assert re.search(message, answer.json()["error"]), answer.text
        if status == 422 and "takes the inputs" not in message:
            assert answer.json()["input"] == "x"
            assert answer.json()["expected"].startswith("float32[batch, 3]")
        assert len(counted.calls) == calls
        assert client.service.accepted == client.service.bodies.held == 0


def test_other_paths_methods_and_names_of_this_machine():
    function, _ = double()
    with Client(function) as client:
        assert client.get("/").status_code == 404
        assert client.get("/predict").status_code == 405
        assert client.http.get("/health/live", headers={"host": "evil.example"}).status_code == 400
    with Client(double()[0], hosts=["*"]) as client:
        assert client.http.get("/health/live", headers={"host": "any.example"}).status_code == 200


def test_inputs_agree_on_their_lengths():
    shape = [("batch", "time"), ("batch", "2*time + 1")]
    function, _ = served(
        lambda x, z: x.sum(1) + z.sum(1),
        [spec(shape[0]), spec(shape[1], name="z")],
        [spec(("batch",))],
    )
    with Client(function, sizes={"call": [{"time": 2}]}) as client:
        x, z = [[1, 2]], [[1, 2, 3, 4, 5]]
        assert client.post({"inputs": {"x": x, "z": z}}).json()["outputs"] == {"x": [18]}
        wrong = client.post({"inputs": {"x": x, "z": [z[0][:4]]}})
        assert (
            "expected float32[batch, 2*time + 1], got float32[1, 4]; here batch is 1" in wrong.text
        )


# ---- batches -------------------------------------------------------------------------------------


def many(client, bodies, threads=16):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(client.post, bodies))


def test_requests_that_come_together_are_computed_together():
    function, counted = double(seconds=0.02)
    with Client(function, wait_seconds=0.05) as client:
        calls = len(counted.calls)
        bodies = [{"inputs": [[i, i + 1, i + 2]] * (1 + i % 3)} for i in range(24)]
        answers = many(client, bodies)
        for body, answer in zip(bodies, answers, strict=True):
            assert answer.json()["outputs"]["y"] == [[2.0 * n for n in r] for r in body["inputs"]]
        assert len(counted.calls) - calls < 20
        page = client.get("/metrics").text
    assert 'funcnet_requests_total{function="call",status="200"} 24' in page
    assert 'funcnet_batch_rows_sum{function="call"} 48' in page
    assert "funcnet_queue 0\n" in page
    assert f"funcnet_compilations_total {len(function.batches)}\n" in page


def test_requests_of_other_lengths_are_computed_apart():
    shape = ("batch", "time")
    function, _ = served(lambda x: 2 * x, [spec(shape)], [spec(shape, name="y")], seconds=0.01)
    with Client(function, sizes={"call": [{"time": 2}, {"time": 3}]}, wait_seconds=0.02) as client:
        bodies = [{"inputs": [[i] * (2 + i % 2)]} for i in range(12)]
        for body, answer in zip(bodies, many(client, bodies), strict=True):
            assert answer.json()["outputs"]["y"] == [[2.0 * n for n in body["inputs"][0]]]


def test_a_failure_reaches_those_whose_batch_it_was_and_nobody_else():
    def picky(x):
        if (x < 0).all():
            raise FloatingPointError("a secret of the model")
        return 2 * x

    function, _ = served(picky, [spec(("batch",))], [spec(("batch",), name="y")], batches=(1,))
    with Client(function) as client:
        answer = client.post({"inputs": [-1]})
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert client.post({"inputs": [1]}).json() == {"outputs": {"y": [2.0]}}


# ---- limits --------------------------------------------------------------------------------------


def test_more_requests_than_the_queue_holds_are_asked_to_come_again():
    function, _ = double(seconds=0.1, batches=(1,))
    with Client(function, queue=3) as client:
        answers = many(client, [{"inputs": [[1, 2, 3]]}] * 12, threads=12)
        statuses = [each.status_code for each in answers]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 3
        refused = answers[statuses.index(503)]
        assert refused.headers["retry-after"] == "1"
        assert "3 requests wait already" in refused.json()["error"]
        assert client.service.accepted == 0


def test_more_bytes_than_may_wait_are_asked_to_come_again():
    function, _ = double()
    with Client(function, queue_bytes=100) as client:
        answer = client.post({"inputs": [[1, 2, 3]] * 100})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.service.bodies.held == 0
        assert client.post({"inputs": [[1, 2, 3]]}).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused(chunked):
    def chunks():
        for _ in range(100):
            yield b" " * 100

    function, _ = double()
    with Client(function, body_bytes=1000) as client:
        answer = client.http.post(
            "/predict", content=chunks() if chunked else b" " * 10_000, headers=JSON
        )
        assert answer.status_code == 413
        assert answer.json() == {"error": "a body has at most 1000 bytes here", "limit": 1000}
        assert client.service.bodies.held == client.service.accepted == 0


def test_an_answer_that_is_late_is_504_and_its_place_is_free_again():
    function, _ = double(seconds=0.15, batches=(1,))
    with Client(function, answer_seconds=0.05) as client:
        first = client.post({"inputs": [[1, 2, 3]]})
        assert (first.status_code, first.json()["error"]) == (
            504,
            "there was no answer within 0.05 s",
        )
        assert client.service.accepted == 0


def test_a_request_that_nobody_waits_for_is_not_computed():
    function, counted = double(seconds=0.2, batches=(1,))
    with Client(function, answer_seconds=0.1) as client:
        calls = len(counted.calls)
        statuses = {each.status_code for each in many(client, [{"inputs": [[1, 2, 3]]}] * 6, 6)}
        assert statuses == {504}
    assert len(counted.calls) == calls + 1


def test_limits_are_checked():
    from funcnet.export.serving.limits import ServerLimits

    for name in ("queue", "body_bytes", "answer_seconds", "programs"):
        for value in (0, -1, float("nan"), True, "5"):
            with pytest.raises(ValueError, match=f"{name} of a server is a positive number"):
                ServerLimits(**{name: value})
    with pytest.raises(ValueError, match="one row at least; got 0"):
        ServerLimits(batches=(1, 0))
    with pytest.raises(TypeError, match="tuple of numbers of rows"):
        ServerLimits(batches=())
    assert ServerLimits(wait_seconds=0).wait_seconds == 0
