"""What attackers send, in this process: doors over stores in memory."""
