"""Where results go: sending tools, webhooks and files."""
