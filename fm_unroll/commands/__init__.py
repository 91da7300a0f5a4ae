"""Verbs of the command line: one thin file each, which reads options, calls one room and prints."""
