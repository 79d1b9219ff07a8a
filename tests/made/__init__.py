"""What tests are made from: synthetic evidence, projects, archives, servers."""
