"""What every process of a run needs: progress, disk, deadlines, the process group."""
