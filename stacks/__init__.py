"""The infrastructure of one stage of FlowStack."""
