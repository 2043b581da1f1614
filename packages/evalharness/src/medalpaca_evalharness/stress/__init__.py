"""Measure the robustness of an exam score under perturbations of the exam."""
