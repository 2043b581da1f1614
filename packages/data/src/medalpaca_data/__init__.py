"""Medical instruction rows with their origin: rebuilt, checked, accounted for."""
