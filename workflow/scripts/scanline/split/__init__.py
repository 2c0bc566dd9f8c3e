"""Stage 3, split: groups that must never be parted, subsets, and the gate that proves them apart."""
