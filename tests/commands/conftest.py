"""Fixtures of the tests of verbs."""

from fresh_cache import index_cache as index_cache
