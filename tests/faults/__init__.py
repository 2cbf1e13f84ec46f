"""Lives of customers under faults of AWS; see `tests.faults.life`."""
