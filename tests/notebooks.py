"""Execute every notebook from the top, in a fresh kernel: `python -m tests.notebooks [--write]`.

With --write the executed notebooks, with their pictures, replace the files.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"


def main() -> None:
    failed = False
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        started = time.monotonic()
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(FOLDER)}},
        )
        try:
            client.execute()
        except Exception as error:
            failed = True
            print(f"{path.name}: FAILED\n{error}", flush=True)
            continue
        print(f"{path.name}: passed in {time.monotonic() - started:.0f} s", flush=True)
        if "--write" in sys.argv:
            nbformat.write(notebook, path)
    sys.exit(failed)


if __name__ == "__main__":
    main()
