"""Keeps the tables of the documentation equal to the code they describe."""
