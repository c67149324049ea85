"""Build the documentation site: ``python -m docs.build``.

    pip install -e ".[docs]" && python -m docs.build     # the site, under docs/_build/site
    python -m docs.build --no-execute                    # without running what is not kept from earlier
    python -m docs.build --only howto guides             # a preview of some folders, under docs/_build/preview

Pages are executed, and what they show is kept while neither their code nor the package changes. A warning, a cell that
fails or a broken link fails the build, and leaves the site that was there as it was.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

NEEDED = (
    "sphinx",
    "myst_nb",
    "furo",
    "nbclient",
    "ipykernel",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",
)
"""What is imported, of the extra `docs`."""

WARNED = 1
"""Sphinx's exit status where it finished, and warned."""


def html(source: Path, target: Path, processes: int, strict: bool) -> None:
    """Make HTML of a source folder; exit where Sphinx warns, if it is to be strict.

    In a process of its own: Sphinx forks, which is safe as long as JAX has only been imported. Where an earlier one was
    killed, all pages are written again: Sphinx would believe those that it wrote to be in the index of the search.
    """
    unfinished = target.with_name(f"{target.name}-unfinished")
    if unfinished.exists():
        shutil.rmtree(target, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.touch()
    warned = ["-W"] if strict else ["-D", "suppress_warnings=toc.not_readable"]
    options = ["-b", "html", "--keep-going", "-j", str(processes), "-q", *warned]
    places = [
        "-c",
        str(Path(__file__).parent),
        "-d",
        str(target.with_name(f"{target.name}-doctrees")),
    ]
    python = [sys.executable, "-W", "ignore:os.fork:RuntimeWarning", "-m", "sphinx"]
    done = subprocess.run([*python, *options, *places, str(source), str(target)], check=False)
    if done.returncode in {0, WARNED}:
        unfinished.unlink()
    if done.returncode:
        sys.exit(done.returncode)


def check(site: Path, strict: bool) -> None:
    """Check the links of a site; exit where one is broken."""
    from docs.generation.links import Links

    links = Links.read(site)
    broken = links.broken()
    for line in broken[:50]:
        print(line, file=sys.stderr)
    listed = "".join(f"{address}\t{pages[0]}\n" for address, pages in links.external().items())
    (site.parent / "external_links.txt").write_text(listed)
    if broken and strict:
        sys.exit(f"{len(broken)} links are broken")


def timed(said: str, task: Callable[[], Result]) -> Result:
    """Do a task; say how long it took."""
    started = time.monotonic()
    result = task()
    print(f"{said}: {time.monotonic() - started:.0f} s", flush=True)
    return result


def build(out: Path, only: list[str] | None, execute: bool, processes: int) -> Path:
    """Build the site, or a preview of some folders; return the folder to open."""
    import funcnet
    from docs.generation import assemble
    from docs.generation import execute as executing
    from docs.generation.publish import publish
    from docs.generation.summaries import write_summaries
    from docs.generation.text import as_text

    room = assemble.BUILD / ("work" if only is None else "work-preview")
    pages = timed("pages", lambda: assemble.collect(only))
    folders = {name.split("/")[0] for name in pages if "/" in name}
    if unknown := sorted(set(only or ()) - folders):
        sys.exit(f"no pages in {', '.join(unknown)}: --only takes names of folders in docs")
    pages = timed("executed", lambda: executing.execute_all(pages, processes, execute))
    assemble.write(room / "source", pages)
    timed("site", lambda: html(room / "source", room / "html", processes, strict=only is None))
    write_summaries(room / "html")
    text = timed("text", lambda: as_text(pages, funcnet.__version__))
    (room / "html" / "llms.txt").write_text(text)
    timed("links", lambda: check(room / "html", strict=only is None))
    return publish(room / "html", out, funcnet.__version__)


def make_writable(out: Path) -> None:
    """Make the folder of the site; exit where nothing can be written, before the minutes that a build takes."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        sys.exit(f"the site cannot be written to {out}: {error}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="where the site goes, a folder a version")
    parser.add_argument("--no-execute", action="store_true", help="run nothing")
    parser.add_argument("--only", nargs="+", help="folders of pages, for a preview")
    parser.add_argument("--clean", action="store_true", help="forget what earlier builds kept")
    parser.add_argument("-j", type=int, default=2, help="processes")
    args = parser.parse_args()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        sys.exit(f'{", ".join(missing)} not installed: pip install -e ".[docs]"')
    from docs.generation.assemble import BUILD

    if args.clean:
        for name in ("work", "work-preview", "executed"):
            shutil.rmtree(BUILD / name, ignore_errors=True)
    out = args.out or BUILD / ("site" if args.only is None else "preview")
    make_writable(out)
    from docs.generation.execute import PageFailedError

    try:
        place = build(out, args.only, not args.no_execute, args.j)
    except PageFailedError as error:
        sys.exit(f"pages failed:\n\n{error}")
    except KeyboardInterrupt:
        sys.exit("stopped: the site that was there is as it was")
    print(f"open {place / 'index.html'}")


if __name__ == "__main__":
    main()
