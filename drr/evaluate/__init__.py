"""Evaluating a classifier of findings: figures with intervals, by patient, on DRRs and films."""
