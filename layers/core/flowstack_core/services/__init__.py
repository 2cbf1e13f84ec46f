"""Use cases: each orchestrates the domain over ports; none knows AWS or HTTP."""
