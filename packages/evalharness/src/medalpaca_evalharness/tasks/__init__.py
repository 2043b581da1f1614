"""Task definitions in YAML for lm-eval; the entry point group `lm_eval.tasks` names this package."""
