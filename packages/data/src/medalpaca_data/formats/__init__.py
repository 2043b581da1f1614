"""Readers of file formats that several sources come in. They know nothing of medicine or of rows."""
