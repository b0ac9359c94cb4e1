"""Where weights come from: the registry, downloads, official files read safely, files written here."""
