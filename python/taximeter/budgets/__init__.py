"""Budgets: limits that hold over all threads and processes of a state directory.

`definition` has the class `Budget`, `periods` the boundaries of its periods. `src/budget/` counts.
"""
