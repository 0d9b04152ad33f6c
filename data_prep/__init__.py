"""Data sets: one file each, from the files that a user has to prepared data in the nnU-Net raw format."""
