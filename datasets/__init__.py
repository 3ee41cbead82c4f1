"""Data: phantoms and samples to start from, data sets to train on.

`phantom` makes a procedural chest CT, `shapes` solids with known line integrals, `sample` fetches
a real public scan.
"""
