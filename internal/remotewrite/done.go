package remotewrite

// isDone reports whether a channel that only tells an end is closed.
func isDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
