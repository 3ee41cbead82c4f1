"""Damaged inputs for every reader, record, table and store: `make fuzz`.

`seeds` makes small sound inputs, `mutations` damages them, `targets` says which command gets them,
`attempt` runs one and judges it, `python -m fuzz` runs many in processes with limits.
"""
