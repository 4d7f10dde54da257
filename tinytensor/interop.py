"""Weights of other libraries."""
