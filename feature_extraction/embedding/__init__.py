"""Turns face crops into vectors: crops -> network input (preprocess) -> vectors (network) -> .npy or JSON."""
