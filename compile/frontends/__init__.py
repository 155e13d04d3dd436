"""From a file to a LoadedModel: signature, program, oracle, provenance. Nothing of the file is trusted."""
