"""Tabs of the page, one module each: components, and what their clicks do."""
