"""Fetching the days that are missing from the cache: archive, then REST, and what is kept of them."""
