"""Does the steps of exports and erasures."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.data_rights import data_rights_steps

handler = data_rights_steps(bootstrap.export_service, bootstrap.erasure_service)
