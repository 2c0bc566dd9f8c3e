"""Small modules that every stage shares: tables, files, images, options, errors."""
