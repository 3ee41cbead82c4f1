"""Domain randomisation: what varies between radiographs, drawn from a seed and recorded."""
