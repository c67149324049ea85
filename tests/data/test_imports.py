"""The data layer and its workers run without JAX."""

import subprocess
import sys


def test_nothing_here_imports_jax():
    program = (
        "import sys, funcnet.data, funcnet.data.workers.process_main;"
        "print(sorted({'jax', 'jaxlib', 'torch', 'PIL', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
