"""A stub of TRex: see api.py."""
