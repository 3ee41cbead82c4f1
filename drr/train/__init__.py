"""Training CheXNet on DRRs, and predicting with what was trained."""
