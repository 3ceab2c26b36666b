package remotewrite

// isDone reports whether a channel is closed on which nothing is sent.
func isDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
