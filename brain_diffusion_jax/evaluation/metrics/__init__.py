"""Numbers of sets of images: distances, diversity, memorisation, and their intervals."""
