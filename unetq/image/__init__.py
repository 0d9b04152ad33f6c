"""Images: files, preparation, tiles and measures."""
