"""Measures what a message costs, how fast the code loads and how large its bundles are."""
