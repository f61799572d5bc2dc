"""The process and its environment: device, memory, interrupts, other processes."""
