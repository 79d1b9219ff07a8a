"""What no machine without a GPU can show, tried on one: `harness doctor --gpu`."""
