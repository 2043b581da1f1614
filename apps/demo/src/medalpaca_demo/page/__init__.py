"""What the page shows and keeps in mind, piece by piece; the tabs put the pieces together."""
