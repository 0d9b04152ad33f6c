"""Training: data, augmentation, loss, the loop, run folders."""
