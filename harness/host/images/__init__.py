"""Images: bases, the builder, the engines' images, layouts and registries."""
