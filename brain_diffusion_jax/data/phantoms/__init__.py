"""The embedded cohort of procedurally made brains."""
