"""FlowStack's core: the billing domain, its services and their adapters."""

__version__ = "0.1.0"
