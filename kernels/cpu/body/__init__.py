"""Work on voxels of the body: masks, means of blocks, cutting out and continuing."""
