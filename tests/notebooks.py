"""Execute notebooks from the top, each in a fresh kernel, or check the types in their code.

python -m tests.notebooks                   # execute all
python -m tests.notebooks 02_layers --write # replace this file by the executed one, with its pictures
python -m tests.notebooks --types           # pyright over the code, under the settings of pyproject.toml
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"


def execute(path: Path, *, write: bool) -> bool:
    """Run a notebook as the documentation does; say how it went."""
    from docs.generation.execute import PageFailedError
    from docs.generation.execute import execute as run

    notebook = nbformat.read(path, as_version=4)
    started = time.monotonic()
    try:
        run(notebook, path.name)
    except PageFailedError as error:
        print(f"FAILED: {error}", flush=True)
        return False
    print(f"{path.name}: passed in {time.monotonic() - started:.0f} s", flush=True)
    if write:
        nbformat.write(notebook, path)
    return True


def check_types(paths: Sequence[Path]) -> bool:
    """Run pyright over the code of notebooks, as scripts in a folder that goes away."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    with tempfile.TemporaryDirectory() as folder:
        config = settings | {
            "include": ["."],
            "extraPaths": [str(ROOT)],
            "reportUnusedExpression": False,  # a cell's last line is shown
        }
        (Path(folder) / "pyrightconfig.json").write_text(json.dumps(config))
        for path in paths:
            cells = nbformat.read(path, as_version=4).cells
            code = [cell.source for cell in cells if cell.cell_type == "code"]
            script = "\n\n# %%\n".join(code) + "\n"
            (Path(folder) / f"notebook_{path.stem}.py").write_text(script)
        return subprocess.run(["pyright", "--project", folder], check=False).returncode == 0


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names)}; all if left out")
    parser.add_argument("--write", action="store_true", help="keep what execution shows")
    parser.add_argument("--types", action="store_true", help="check types; execute nothing")
    args = parser.parse_args()
    chosen = [Path(name).stem for name in args.names] or names
    if unknown := set(chosen) - set(names):
        parser.error(f"there is no notebook {', '.join(sorted(unknown))}")
    paths = [FOLDER / f"{name}.ipynb" for name in chosen]
    if args.types:
        sys.exit(not check_types(paths))
    passed = [execute(path, write=args.write) for path in paths]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
