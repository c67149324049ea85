"""A process in which pages run one after another: importing JAX again for each took as long as their code."""

import json
import os
import subprocess
import sys

from docs.generation.repository import ROOT

MODULE = "tests.docs.pages.run_page"

ALONE = ("os.environ[", "jax.config.update(", "compilation_cache(", "parallel.start(")
"""What changes a process for good: pages that have it in their code run in one of their own."""

MOST_PAGES = 15
"""Of one process, which holds every program that its pages compiled."""

AS_USERS_RUN = {
    name: value
    for name, value in os.environ.items()
    if name not in {"XLA_FLAGS", "JAX_NUM_CPU_DEVICES"}
}


class Runner:
    """Runs pages; the process is started with the first, anew after one that ended it and after `MOST_PAGES`."""

    def __init__(self):
        self.process, self.pages = None, 0

    def run(self, path):
        """Run a page; return what `run_page` says of it."""
        if self.pages == MOST_PAGES:
            self.close()
        if self.process is None:
            self.process, self.pages = self._started(), 0
        self.pages += 1
        try:
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        status = self.close()
        return {"failed": f"{path.name} ended the process ({status}): python -m {MODULE} {path}"}

    def close(self):
        """End the process; return its status."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.communicate()
        return process.returncode

    @staticmethod
    def _started():
        return subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=AS_USERS_RUN | {"PYTHONPATH": str(ROOT)},
        )


def runs_alone(cells):
    """Tell whether a page's code may change what pages behind it would see."""
    return any(word in cell.text for cell in cells if cell.is_code for word in ALONE)
