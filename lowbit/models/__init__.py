"""Models for 32x32 RGB images, one file each."""
