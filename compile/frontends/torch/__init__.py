"""torch: a .pt2 (an ExportedProgram), a live module, or a state dict with its module -> a net."""
