"""What the tests share: stores in memory, fakes, and faults."""
