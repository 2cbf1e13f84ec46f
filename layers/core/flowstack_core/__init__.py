"""FlowStack's core: the billing domain, its services and their adapters."""
