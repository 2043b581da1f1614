"""De-identification by rules: find, count and replace the 18 identifier classes of HIPAA Safe Harbor."""
