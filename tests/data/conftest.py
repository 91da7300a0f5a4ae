"""Fixtures of the data tests."""

import faulthandler
import os

from fresh_cache import index_cache as index_cache

# Some tests let a process of their own crash: that is their result, and no news for the terminal.
os.register_at_fork(after_in_child=faulthandler.disable)
