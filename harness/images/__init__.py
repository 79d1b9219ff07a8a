"""Images: functions of their lockfiles, built, compared, loaded and written out."""
