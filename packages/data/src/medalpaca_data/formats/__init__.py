"""Readers of file formats that several sources share. They depend on neither sources nor rows."""
