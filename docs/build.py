"""Build the documentation site: ``python -m docs.build``.

    pip install -e ".[docs]" && python -m docs.build     # the site, under docs/_build/site
    python -m docs.build --no-execute                    # pages as they are, without running what is not cached
    python -m docs.build --only howto                    # write one folder's pages quickly: no reference

Pages are executed, and kept while neither they nor the package change; any warning fails the build.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sphinx.cmd.build import build_main

from docs.generation.assemble import BUILD, assemble
from docs.generation.execute import execute_all


def html(source: Path, target: Path, processes: int, strict: bool) -> None:
    """Make HTML of a source folder; exit where Sphinx warns, if it is to be strict."""
    options = [
        "-b",
        "html",
        "--keep-going",
        "-j",
        str(processes),
        "-q",
        *(["-W"] if strict else []),
    ]
    places = ["-c", str(Path(__file__).parent), "-d", str(BUILD / "doctrees")]
    if failed := build_main([*options, *places, str(source), str(target)]):
        sys.exit(failed)


def timed(said: str, task: Callable[[], object]) -> None:
    """Do a task; say how long it took."""
    started = time.monotonic()
    task()
    print(f"{said}: {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=BUILD / "site", help="where the site goes")
    parser.add_argument("--no-execute", action="store_true", help="run nothing")
    parser.add_argument("--only", nargs="*", help="folders of pages; all if left out")
    parser.add_argument("-j", type=int, default=2, help="processes")
    args = parser.parse_args()
    source = BUILD / "source"
    timed("pages", lambda: assemble(source, args.only))
    timed("executed", lambda: execute_all(source, processes=args.j, execute=not args.no_execute))
    timed("site", lambda: html(source, args.out, args.j, args.only is None))
    print(f"open {args.out / 'index.html'}")


if __name__ == "__main__":
    main()
