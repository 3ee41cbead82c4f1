"""What may tell who somebody is, and how it is kept out of files that travel."""
