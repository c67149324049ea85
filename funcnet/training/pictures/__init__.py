"""Pictures of a run and of a model: curves, confusions, mistakes, filters, attention."""
