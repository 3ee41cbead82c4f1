"""Data sets to train on: stored views, views projected on the fly, and both."""
