"""What Sphinx is taught for this site: each name here is an extension that `docs/conf.py` lists."""
