"""Integrations, one small file each. What they integrate with is imported there alone."""
