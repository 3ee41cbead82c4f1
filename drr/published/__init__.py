"""The look of the published DRR-RATE data set."""
