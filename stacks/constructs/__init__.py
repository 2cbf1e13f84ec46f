"""What every stack declares its tables, functions and layers with."""
