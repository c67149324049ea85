"""The server as a process of its own, on a free port of this machine, with a model from an artifact."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs funcnet[serve]")

import funcnet as fn
from funcnet import export, nn
from funcnet.export.__main__ import command_line
from funcnet.export.serving.formats import arrays_from_bytes, arrays_to_bytes

SECONDS = 60
"""For anything to happen at all, on a machine that is busy."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    net = fn.functionalize(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)))
    params, state = net.init(jax.random.key(0))
    path = tmp_path_factory.mktemp("serving") / "model.fnx"
    image = export.spec(("batch", 4), name="image")

    def slow(params, state, x):
        """Some tenths of a second, so that a signal arrives meanwhile."""
        turn = lambda _, value: jnp.tanh(value @ jnp.full((64, 64), 0.1))
        return jax.lax.fori_loop(0, 5_000, turn, jnp.ones((64, 64))).sum() * 0 + x.sum(), state

    functions = {"call": export.entry(net, image), "slow": export.entry(slow, export.spec((2,)))}
    export.save(path, functions, params, state, metadata={"by": "a test"})
    return path, lambda x: np.asarray(net.apply(params, state, x)[0])


class Server:
    """A process that serves, and its port."""

    def __init__(self, path, *options):
        command = [sys.executable, "-m", "funcnet.export", "serve", str(path), "--port", "0"]
        flags = "--xla_backend_optimization_level=0"
        self.process = subprocess.Popen(
            [*command, *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        )
        self.log = []
        self.port = None
        for line in self.process.stderr:
            self.log.append(line)
            if line.startswith("serving "):
                self.port = int(line.rpartition(":")[2])
                break
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
        self.reader.start()

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def wait(self):
        until = time.monotonic() + SECONDS
        while self.ask("GET", "/health/ready")[0] != 200:
            assert time.monotonic() < until, self.log
            time.sleep(0.02)
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(SECONDS)
        self.reader.join(SECONDS)
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def server(model):
    limits = ["--body-bytes", "100000", "--body-seconds", "0.5", "--wait-seconds", "0.005"]
    made = Server(model[0], *limits)
    yield made.wait()
    made.stop()


JSON = {"content-type": "application/json"}
BINARY = {"content-type": "application/octet-stream"}


@pytest.mark.parametrize("rows", [1, 2, 3, 32, 33])
def test_it_answers_what_jax_answers(server, model, rows, rng):
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    expected = model[1](x)
    status, body, _ = server.ask("POST", "/predict", json.dumps({"inputs": x.tolist()}), JSON)
    assert status == 200
    np.testing.assert_allclose(
        json.loads(body)["outputs"]["output"], expected, rtol=1e-5, atol=1e-6
    )
    status, body, _ = server.ask("POST", "/predict", arrays_to_bytes({"image": x}), BINARY)
    assert status == 200
    np.testing.assert_allclose(arrays_from_bytes(body)["output"], expected, rtol=1e-5, atol=1e-6)


def test_it_tells_what_it_is(server):
    told = json.loads(server.ask("GET", "/metadata")[1])
    assert told["metadata"] == {"by": "a test"}
    assert told["functions"]["call"]["inputs"] == [
        {"name": "image", "dtype": "F32", "shape": ["batch", 4]}
    ]
    assert told["functions"]["call"]["batches"] == [1, 2, 4, 8, 16, 32]
    assert not told["functions"]["slow"]["joins"]


def count(server, what):
    page = server.ask("GET", "/metrics")[1].decode()
    (line,) = [each for each in page.splitlines() if each.startswith(what + " ")]
    return float(line.rpartition(" ")[2])


def test_under_load_every_answer_is_right_and_nothing_compiles(server, model, rng):
    """Bounded: 300 requests of 16 clients on this machine, at most half a minute."""
    compiled = count(server, "funcnet_compilations_total")
    inputs = [rng.normal(size=(1 + i % 5, 4)).astype(np.float32) for i in range(300)]
    until = time.monotonic() + 30

    def one(x):
        if time.monotonic() > until:
            return None
        status, body, _ = server.ask("POST", "/predict", arrays_to_bytes({"image": x}), BINARY)
        assert status == 200, body
        return arrays_from_bytes(body)["output"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, inputs))
    for x, answer in zip(inputs, answers, strict=True):
        if answer is not None:
            np.testing.assert_allclose(answer, model[1](x), rtol=1e-5, atol=1e-6)
    assert sum(answer is not None for answer in answers) > 16
    assert count(server, "funcnet_compilations_total") == compiled
    assert count(server, "funcnet_queue") == 0


def raw(server, *parts, pause=0.0):
    """Send bytes, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
        return found


HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def test_a_body_too_long_is_refused_and_told_so(server):
    status, body, headers = server.ask("POST", "/predict", b" " * 3_000_000, JSON)
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["limit"] == 100_000
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    answer = raw(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_too_slow_is_refused(server):
    answer = raw(server, HEAD + b"Content-Length: 100\r\n\r\n", b'{"inputs"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.5 s" in answer


def test_clients_that_go_away_leave_nothing_behind(server):
    for sent in (b"", b"POST", HEAD, HEAD + b"Content-Length: 50\r\n\r\n{"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(sent)
    assert raw(server, b"\x16\x03\x01 no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    until = time.monotonic() + SECONDS
    while count(server, "funcnet_queue") and time.monotonic() < until:
        time.sleep(0.05)
    assert count(server, "funcnet_queue") == count(server, "funcnet_queue_bytes") == 0


def test_a_signal_lets_it_finish_what_was_accepted(model):
    server = Server(model[0], "--batches", "1,2").wait()
    body = arrays_to_bytes({"x": np.float32([1, 2])})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.ask, "POST", "/predict/slow", body, BINARY)
        until = time.monotonic() + SECONDS
        while not count(server, "funcnet_queue") and time.monotonic() < until:
            pass
        code = server.stop()
        status, content, _ = answer.result(SECONDS)
    assert status == 200, content
    assert arrays_from_bytes(content)["output"] == 3
    assert code == -signal.SIGTERM
    with pytest.raises(ConnectionRefusedError):
        server.ask("GET", "/health/live")


def test_what_is_no_artifact_is_not_served(tmp_path, capsys):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04.")
    assert command_line(["serve", str(path)]) == 1
    assert "ExportError" in capsys.readouterr().err
    assert command_line(["serve", str(tmp_path / "none")]) == 1
    assert "there is no file" in capsys.readouterr().err


def test_a_file_that_ends_its_reader_ends_no_server(model, monkeypatch, capsys):
    path, _ = model
    dies = [sys.executable, "-c", "import os; os.abort()"]
    ran = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **given: ran(dies, **given))
    assert command_line(["serve", str(path), "--port", "0"]) == 1
    assert "died of them" in capsys.readouterr().err


def test_a_port_that_is_taken_and_options_that_are_wrong_are_told(server, model, capsys):
    assert command_line(["serve", str(model[0]), "--port", str(server.port)]) == 1
    assert f"cannot listen on 127.0.0.1 port {server.port}" in capsys.readouterr().err
    assert command_line(["serve", str(model[0]), "--batches", "1,x"]) == 1
    assert "--batches takes numbers" in capsys.readouterr().err
    assert command_line(["serve", str(model[0]), "--queue", "0"]) == 1
    assert "queue of a server is a positive number" in capsys.readouterr().err


def test_an_address_that_others_reach_is_warned_of(caplog):
    from funcnet.export.serving.server import _host_names

    assert _host_names("127.0.0.1", None) is None
    assert _host_names("::1", None) is None
    assert not caplog.records
    assert _host_names("0.0.0.0", None) == ["*"]
    assert "no encryption and no password" in caplog.text
    assert _host_names("0.0.0.0", ["model.example"]) == ["model.example"]
