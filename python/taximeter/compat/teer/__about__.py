"""The version of `teer` whose interface this package has."""

__version__ = "0.1.7"
