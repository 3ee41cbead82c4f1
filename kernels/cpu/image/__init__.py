"""Work on a picture: blur, exposure, contrast, the characteristic curve."""
