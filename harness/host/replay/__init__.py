"""What a replay needs of the world: the record of a commit, and whether everything it trained with can still be had."""
