"""The memorisation test: patients that nobody is, planted and looked for."""
