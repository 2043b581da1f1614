"""Readers of file formats, for the sources. They import neither `sources` nor `core.row`."""
