"""CheXNet on DRRs and films: training it, and evaluating any classifier of findings."""
