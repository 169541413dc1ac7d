"""Recipes judged side by side: on stated protocols, in parts and groups of members, with paired intervals."""
