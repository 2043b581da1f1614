"""The task definitions, YAML that lm-eval reads; the entry point "lm_eval.tasks" names this package."""
