"""What a replay needs: the archived run, and whether everything it trained with can still be had."""
