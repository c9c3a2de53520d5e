"""Property tests draw the same examples in every run; HYPOTHESIS_PROFILE=random asks anew."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
