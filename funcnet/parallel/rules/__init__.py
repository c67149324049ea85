"""Rules: where arrays lie on a mesh, by globs on their dotted paths."""
