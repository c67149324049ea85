"""ONNX Runtime, asked from here: one child process serves many files, and a crash of it is an error like others."""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.export.onnx import child

__all__ = ["Runtime", "run_model"]


class Runtime:
    """A child process with ONNX Runtime in it; it is started when it is first needed, and again after a crash.

    Args:
        program: that runs in it.
    """

    def __init__(self, program: str = child.__file__) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0
        self.said: Any = None
        self.lock = threading.Lock()

    def run(
        self, model: Path, runs: Sequence[Mapping[str, Any]], seconds: float = 600
    ) -> list[list[np.ndarray]]:
        """Run a model on each of several sets of inputs.

        Args:
            model: the file.
            runs: arrays by the inputs' names; those that the model does not have are left out.
            seconds: after which it is stopped.

        Returns:
            For each run, the outputs in order.

        Raises:
            ExportError: ONNX Runtime refused the model, failed, crashed or did not end.
        """
        request = {
            "model": str(model),
            "runs": [{name: _sent(array) for name, array in run.items()} for run in runs],
        }
        with self.lock:
            answer = self._asked(request, seconds)
        if "error" in answer:
            raise ExportError(f"ONNX Runtime: {answer['error']}")
        return [[_received(*pair) for pair in outputs] for outputs in answer["outputs"]]

    def _asked(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._started()
        alarm = threading.Timer(seconds, process.kill)
        alarm.start()
        try:
            child.write_message(cast(BinaryIO, process.stdin), request)
            answer = child.read_message(cast(BinaryIO, process.stdout))
        except OSError:
            answer = None
        finally:
            alarm.cancel()
        if answer is None:
            raise ExportError(self._last_words(process))
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self.owner != os.getpid():  # after a fork the child belongs to the parent
            self.process = None
        if self.process is None or self.process.poll() is not None:
            self.owner = os.getpid()
            self.said = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
            self.process = subprocess.Popen(
                [sys.executable, "-P", self.program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.said,
            )
        return self.process

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        self.said.seek(0)
        said = self.said.read().decode(errors="replace").strip()[-500:]
        self.stop()
        how = f"was killed by {_signal(-code)}" if code < 0 else f"ended with code {code}"
        return f"ONNX Runtime {how} when it ran the file" + (f": {said}" if said else "")

    def stop(self) -> None:
        """End the child."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return
        for stream in (process.stdin, process.stdout, self.said):
            if stream is not None:
                stream.close()
        process.kill()
        process.wait()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _sent(array: Any) -> tuple[np.ndarray, bool]:
    numbers = np.asarray(array, order="C")
    is_short = numbers.dtype == jnp.bfloat16
    return (numbers.view(np.uint16) if is_short else numbers), bool(is_short)


def _received(array: np.ndarray, is_short: bool) -> np.ndarray:
    return array.view(jnp.bfloat16) if is_short else array


_OURS = Runtime()
atexit.register(_OURS.stop)


def run_model(model: Path, runs: Sequence[Mapping[str, Any]]) -> list[list[np.ndarray]]:
    """Run a model in the child process that all exports share; see `Runtime.run`."""
    return _OURS.run(model, runs)
