"""Numbers of sets of pictures: distances, diversity, memorisation, and their intervals."""
