"""What is trained. Everything that an experiment may change is in this package; it imports torch and itself only."""
