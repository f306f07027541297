"""The version of `teer` whose interface this is."""

__version__ = "0.1.7"
