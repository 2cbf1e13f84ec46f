"""The other edge: events of AWS services in."""
