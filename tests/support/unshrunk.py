"""A pytest plugin: hypothesis reports the first failure it finds and looks for no smaller one.

For `tests.mutations`, where failing is all that matters.
"""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.generate])
settings.load_profile("unshrunk")
