"""A synthetic chest CT with known anatomy, findings and lesions, and cohorts of it."""
