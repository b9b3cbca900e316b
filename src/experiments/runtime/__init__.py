"""Services for every process of a run: progress, disk, deadlines, placement, process group."""
