"""The environment for programs that a test starts as a user would."""

import os

AS_USERS_RUN = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
