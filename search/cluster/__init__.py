"""Workers on Ray: the only folder that imports it."""

import os

# Ray reads these when it is imported, so they are set before any module here can do that
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# keeps Ray from printing the death of a worker on stdout; the pool reports it as an event
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
# Ray warns of a change to come unless told; workers without a GPU must not see one
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
