"""What the services' ports look like on AWS."""
