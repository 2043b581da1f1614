"""One file per tab: its components and what its clicks do."""
