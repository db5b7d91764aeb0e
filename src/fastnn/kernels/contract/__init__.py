"""What the engines ask of a device, as types: a new backend is whatever fits them."""
