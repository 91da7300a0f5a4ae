"""One file in, one image out, and how far it may be trusted."""
