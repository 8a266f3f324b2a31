"""Low-bit training for PyTorch: the Eva optimizer and its 8-bit forms, and the models that it is measured on."""
