"""`unetq sweep`: many trainings by one command, in processes of this machine or on a Ray cluster, then the report."""
