package simulate

// judgeRefusals checks that samples which agents dropped because a receiver refused them were in a request that the
// receiver answered with 400. Other answers, such as 401 or 413, are no reason to drop a sample. The receiver may have
// refused more: a request that it rolled back is sent again without its bad series, and a kill loses a counter.
func (w *world) judgeRefusals() {
	dropped := map[string]float64{} // by endpoint
	for _, r := range w.agents {
		for d, n := range r.droppedSamples() {
			if d.reason == "refused" || d.reason == "isolation_budget" {
				dropped[d.endpoint] += n
			}
		}
	}
	for _, name := range receiverNames {
		if refused := w.receivers[name].Counts().Refused; dropped[name] > float64(refused) {
			w.problem("receiver %s: %v samples are dropped as refused, but it has refused %d", name, dropped[name],
				refused)
		}
	}
}
