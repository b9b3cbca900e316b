"""Tool calls as text and as data: parsing, schemas, and the public graders."""
