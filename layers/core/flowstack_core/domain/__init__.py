"""The billing rules, in plain Python: no AWS, no network, no clock."""
