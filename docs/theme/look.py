"""Settings of the site's look, which `docs.conf` takes."""

__all__ = ["OPTIONS", "SIDEBARS"]

OPTIONS = {
    "sidebar_hide_name": False,
    "navigation_with_keys": True,
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-brand-primary": "#1f6f78",
        "color-brand-content": "#1a6770",
        "color-brand-visited": "#4a5a86",
        "color-foreground-primary": "#1d2428",
        "color-foreground-secondary": "#4c575d",
        "color-foreground-muted": "#667278",
        "color-background-primary": "#ffffff",
        "color-background-secondary": "#f6f8f8",
        "color-background-hover": "#e9efef",
        "color-background-border": "#dfe5e6",
        "color-inline-code-background": "#eef2f2",
        "color-code-background": "#f6f8f8",
        "funcnet-error": "#b3423a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6fc3c9",
        "color-brand-content": "#7bcdd2",
        "color-brand-visited": "#a9b6e0",
        "color-foreground-primary": "#dde4e6",
        "color-foreground-secondary": "#aab6ba",
        "color-foreground-muted": "#8a979c",
        "color-background-primary": "#14191c",
        "color-background-secondary": "#191f23",
        "color-background-hover": "#232b30",
        "color-background-border": "#2d373c",
        "color-inline-code-background": "#222a2f",
        "color-code-background": "#1a2125",
        "funcnet-error": "#e08078",
    },
}
"""Colours of text on its background have a contrast of at least 4.5."""

SIDEBARS = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
        "versions.html",
    ]
}
