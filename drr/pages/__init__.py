"""HTML pages that need nothing beside them: what a data set holds, what an evaluation found."""
