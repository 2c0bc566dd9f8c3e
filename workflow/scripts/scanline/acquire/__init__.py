"""Stage 1, acquire: raw files into data/, and the manifest that names each of them."""
