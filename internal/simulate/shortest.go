package simulate

// Shortest returns the smallest number of faults, the first ones of the schedule, with which a run fails. A run with
// faults of them failed. fails runs a prefix of the schedule and reports whether that fails. A prefix is assumed to
// fail if a shorter one does, which is nearly always true, so the search takes few runs.
func Shortest(faults int, fails func(faults int) bool) int {
	low, high := 0, faults // high fails
	for low < high {
		middle := low + (high-low)/2
		if fails(middle) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return high
}
