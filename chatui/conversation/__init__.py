"""What was said: rounds, branches, the store on disk, search, transcripts, replay."""
