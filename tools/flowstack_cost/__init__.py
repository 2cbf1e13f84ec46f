"""What running FlowStack costs its operator, on paper."""
