"""Where trainings run: containers and host processes, their kills, their trajectories, and reading what they left."""
