"""The site's look: settings, templates, and the files that pages load."""
