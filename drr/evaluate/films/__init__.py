"""Real films to predict on: folders, ZIP files, and the data sets of torchxrayvision."""
