package scrape

// wholeEvery is the number of pages from one whole page of a target to the next, of which the others are filtered.
const wholeEvery = 40

// pageTurns decides whether the next page of a target is the whole one, or the filtered one, on which Envoy leaves out
// what rules drop. The whole page is read first, and then in every fortieth turn, to see that the filter loses nothing:
//
//	whole, up to 39 times filtered (the first time fewer, so that targets differ), whole, 39 times filtered, …
//
// The filtered page after a whole one is compared with it: a series that it lacks has either vanished, or is lost by
// the filter. So the whole page is read once more, in the same scrape. If it lacks the series too, the filter is right.
// If it has the series, the next filtered page is compared again, and if that lacks a series in the same way, the
// filter is wrong for the job.
type pageTurns struct {
	left     uint8   // filtered pages before the next whole one
	proven   bool    // a whole page was good, and nothing says that another process answers now
	whole    bool    // the last good page was whole
	lost     uint8   // comparisons in a row with a series that the filter lost
	failed   bool    // since the last good page, a scrape of the filtered page failed
	failures uint8   // such failures before a good whole page, without a good filtered page between
	refusal  refusal // why no filtered page is asked for
	reloads  uint8   // number of reloads before the last scrape, modulo 256
}

// refusal is why a target gets no filter although its job has one.
type refusal uint8

const (
	refusedNot    refusal = iota
	refusedAnswer         // it answered the filter with an error or an empty page. Another process may take the filter
	refusedFailed         // scrapes with the filter fail and those without do not. It stays so until a reload
	refusedLittle         // it leaves out too little. It is tried again after as many pages as there are to a whole one
)

// String is for people: a clause.
func (r refusal) String() string {
	switch r {
	case refusedAnswer:
		return "it answers an error, or nothing, if it is asked with a filter"
	case refusedFailed:
		return "scrapes with a filter fail, and those without do not"
	case refusedLittle:
		return "the filter leaves out less than a quarter of the lines, which costs the sidecar more than it saves"
	default:
		return ""
	}
}

const (
	lossesToStop   = 2 // comparisons in a row with a lost series, after which a job has no filter
	failuresToStop = 4 // failures of the filtered page, after which a target has none; fewer may be accidents

	// leastLeftOut is which part of the lines a filter must leave out: one in leastLeftOut. To match it costs Envoy a
	// fifth of what the whole page costs (docs/performance.md).
	leastLeftOut = 4
)

// isFiltered reports whether the next page is filtered, if the target takes a filter.
func (t *pageTurns) isFiltered() bool { return t.proven && t.refusal == refusedNot && t.left > 0 }

// SavesLittle reports whether a filter leaves out too little, by the samples of the filtered page and of the whole one.
// If the filtered one has more, the page has grown between the two, and it is not known.
func SavesLittle(filtered, whole int) bool {
	return filtered <= whole && (whole-filtered)*leastLeftOut < whole
}

// follow starts again with a whole page if there was a reload since the last scrape.
func (t *pageTurns) follow(reloads uint8) {
	if t.reloads != reloads {
		*t = pageTurns{reloads: reloads}
	}
}

// inherited returns the turns for a loop that replaces the one before. reloaded says that the job's configuration has
// changed, and reloads is the number of reloads that the new job has seen.
func (t pageTurns) inherited(reloaded bool, reloads uint8) pageTurns {
	if reloaded {
		t.reloads, t.lost, t.failures, t.refusal = reloads, 0, 0, refusedNot
	}
	return t
}

// little notes that the filter leaves out too little.
func (t *pageTurns) little() { t.refusal, t.left = refusedLittle, wholeEvery-1 }

// good notes a good page. hash is that of the target. It reports whether scrapes with the filter have failed so often
// that there are no more.
func (t *pageTurns) good(filtered bool, hash uint64) (failed bool) {
	if filtered {
		if t.left == 0 { // it was read in place of a whole one that was bad
			t.left = wholeEvery
		}
		t.left--
		t.whole, t.failed, t.failures = false, false, 0
		return false
	}
	if t.refusal == refusedLittle && t.left > 0 {
		if t.left--; t.left == 0 { // what there is to leave out may have changed
			t.refusal, t.left = refusedNot, 1
		}
		t.whole = true
		return false
	}
	if t.failed {
		t.failed = false
		if t.failures++; t.failures >= failuresToStop {
			t.refusal, failed = refusedFailed, true
		}
	}
	t.left = wholeEvery - 1
	if !t.proven {
		t.left = 1 + uint8(hash%(wholeEvery-1))
	}
	t.proven, t.whole = true, true
	return failed
}

// rightly notes a good whole page that was read in place of a filtered one, and shows that the filter lost nothing.
func (t *pageTurns) rightly() {
	if t.left > 0 {
		t.left--
	}
	t.whole, t.failed, t.failures = false, false, 0
}

// bad notes a scrape that failed. timeout says that the page was not read in time: a target that is too busy for its
// whole page may still manage the filtered one. refused says that nobody listens, so another process will answer next.
func (t *pageTurns) bad(filtered, timeout, refused bool) {
	switch {
	case filtered:
		t.failed, t.left = true, 0
	case timeout && t.proven:
		t.left = wholeEvery - 1
	}
	if refused {
		t.otherProcess()
	}
}

// bothBad notes that neither page is good. Only the whole one is asked for until it is.
func (t *pageTurns) bothBad() { t.proven, t.left, t.failed = false, 0, false }

// otherProcess notes that another process answers now, or will.
func (t *pageTurns) otherProcess() {
	t.proven, t.left, t.lost = false, 0, 0
	if t.refusal == refusedAnswer || t.refusal == refusedLittle {
		t.refusal = refusedNot
	}
}

// compared notes what came of a comparison, and reports whether the filter is wrong.
func (t *pageTurns) compared(lost bool) (wrong bool) {
	if !lost {
		t.lost = 0
		return false
	}
	if t.lost++; t.lost < lossesToStop {
		return false
	}
	t.lost = 0
	return true
}
