"""The environment for programs that a test starts as a user would."""

import os
import subprocess
import sys

AS_USERS_RUN = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def run_script(script, folder, **settings):
    """Run a script that a page shows, warnings as errors; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env=AS_USERS_RUN | settings,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
