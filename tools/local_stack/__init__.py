"""FlowStack on one machine: an emulator of AWS, the deployed app, and a customer to try it with."""
