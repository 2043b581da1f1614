"""De-identification by rule: the 18 classes of HIPAA's Safe Harbor, found, counted and replaced; a check, no proof."""
