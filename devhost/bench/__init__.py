"""How fast, and with how much: the app under load on a local stack of its own."""
