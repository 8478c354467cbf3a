"""Small servers of what people would take instead of the hub, each as its own documentation writes it."""
