"""Exams: items, layouts of exam files, prompts, decontamination, and the bundled exams."""
