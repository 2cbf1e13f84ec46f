"""Writes the OpenAPI document of the customers' API from its routes."""
