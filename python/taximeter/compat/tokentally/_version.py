"""The version of `tokentally` whose interface this package has."""

__version__ = "0.4.0"
