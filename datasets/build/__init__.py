"""Making a data set: plan, one part a study, one file, and whether it is sound."""
