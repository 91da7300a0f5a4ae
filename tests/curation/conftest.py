"""Fixtures of the tests of curation."""

from fresh_cache import index_cache as index_cache
