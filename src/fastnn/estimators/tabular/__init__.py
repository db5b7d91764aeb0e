"""Tables with numbers and categories: what a network makes of them, and networks that do so by themselves."""
