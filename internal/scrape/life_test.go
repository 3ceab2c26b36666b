package scrape

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLifeOfALoop walks every state and every event. A row names a state and lists what the events lead to:
//
//	start, due, hostFree, finish, planMove, shift, lose, outdate, handOver, replace, stop
//
// in this order, and what the schedule then does. "." is an event that changes nothing.
func TestLifeOfALoop(t *testing.T) {
	rows, reached := map[string]bool{}, map[string]bool{}
	for _, row := range []struct {
		from string
		to   [eventStop + 1]string
	}{
		{"new", [...]string{"idle", ".", ".", ".", ".", ".",
			"new mark", "new mark", "new handOver", "new replace", "new stop"}},
		{"new mark", [...]string{"departing mark", ".", ".", ".", ".", ".",
			".", ".", "new handOver", "new replace", "new stop"}},
		{"new handOver", [...]string{"departing handOver", ".", ".", ".", ".", ".",
			"new mark", ".", ".", "new replace", "new stop"}},
		{"new replace", [...]string{"gone inherit", ".", ".", ".", ".", ".", ".", ".", ".", ".", "."}},
		{"new stop", [...]string{"gone release", ".", ".", ".", ".", ".", ".", ".", ".", ".", "."}},
		{"idle", [...]string{".", "queued", ".", ".", ".", ".",
			"departing mark", "departing mark", "departing handOver", "gone inherit", "gone release"}},
		{"queued", [...]string{".", ".", "scraping", ".", ".", ".",
			"departing mark", "departing mark", "departing handOver", "gone inherit", "gone release"}},
		{"scraping", [...]string{".", ".", ".", "idle", ".", ".",
			"scraping mark", "scraping mark", "scraping handOver", "scraping replace", "scraping stop"}},
		{"scraping mark", [...]string{".", ".", ".", "departing mark", ".", ".",
			".", ".", "scraping handOver", "scraping replace", "scraping stop"}},
		{"scraping handOver", [...]string{".", ".", ".", "departing handOver", ".", ".",
			"scraping mark", ".", ".", "scraping replace", "scraping stop"}},
		{"scraping replace", [...]string{".", ".", ".", "gone inherit", ".", ".", ".", ".", ".", ".", "."}},
		{"scraping stop", [...]string{".", ".", ".", "gone release", ".", ".", ".", ".", ".", ".", "."}},
		{"departing mark", [...]string{".", "gone markers", ".", ".", ".", ".",
			".", ".", "departing handOver", "gone inherit", "gone release"}},
		{"departing handOver", [...]string{".", "gone release", ".", ".", ".", ".",
			"departing mark", ".", ".", "gone inherit", "gone release"}},
		{"gone", [...]string{".", ".", ".", ".", ".", ".", ".", ".", ".", ".", "."}},
	} {
		rows[row.from] = true
		for kind, want := range row.to {
			e, from := event{kind: eventKind(kind)}, lifeIn(t, row.from)
			after, then := from.after(e, from.due)
			got := nameOf(after, then)
			reached[nameOf(after, effects{})] = true
			if want == "." {
				want = row.from
			}
			if got != want {
				t.Errorf("%s, event %s: %s, want %s", row.from, eventNames()[kind], got, want)
			}
		}
	}
	for name := range reached {
		if !rows[name] {
			t.Errorf("%s can be reached, but has no row", name)
		}
	}
}

func stateNames() []string { return []string{"new", "idle", "queued", "scraping", "departing", "gone"} }
func exitNames() []string  { return []string{"", " mark", " handOver", " replace", " stop"} }
func doNames() []string    { return []string{"", " markers", " release", " inherit"} }
func eventNames() []string {
	return []string{"start", "due", "hostFree", "finish", "planMove", "shift",
		"lose", "outdate", "handOver", "replace", "stop"}
}

// nameOf is a life as the rows of TestLifeOfALoop name it.
func nameOf(l life, then effects) string {
	if l.state == stateGone {
		return "gone" + doNames()[then.do]
	}
	return stateNames()[l.state] + exitNames()[l.exit] + doNames()[then.do]
}

// lifeIn returns a life in a state that a row names. Its interval is 10 s.
func lifeIn(t *testing.T, name string) life {
	t.Helper()
	now := time.Now()
	for s := range stateNames() {
		for x := range exitNames() {
			l := life{state: state(s), exit: exit(x), interval: 10 * time.Second, due: now, began: now}
			if nameOf(l, effects{}) == name {
				return l
			}
		}
	}
	t.Fatalf("no state is called %q", name)
	return life{}
}

// TestTimesOfALife: when a loop is scraped next, when it departs, which scrape it missed, how many it skipped. All
// times are those since the first due time; the interval is 10 s. A finish4 says that the target is asked again after
// four turns, a shift4 that due times are shifted by 4 s. left is how many turns were left out by then, of a target
// that was asked again.
func TestTimesOfALife(t *testing.T) {
	const asked = "0s due, 0s hostFree, "
	const scraped = asked + "1s finish, "
	for _, c := range []struct {
		steps       string
		state       string
		due, missed string // empty missed: whatever it is
		skipped     int
		left        int
	}{
		{"0s due, 0s hostFree, 1s finish", "idle", "10s", "", 0, 0},
		{"0s due, 0s hostFree, 12s finish", "idle", "10s", "", 0, 0}, // late, as a ticker would
		{"0s due, 0s hostFree, 35s finish", "idle", "30s", "", 2, 0},
		{"0s due, 25s hostFree, 26s finish", "idle", "30s", "", 2, 0},

		{scraped + "3s lose", "departing mark", "21s", "10s", 0, 0},
		{"0s due, 0s hostFree, 1s lose, 4s finish", "departing mark", "21s", "10s", 0, 0},
		{"0s due, 3s lose", "departing mark", "11s", "0s", 0, 0},
		{"0s due, 25s hostFree, 26s lose, 27s finish", "departing mark", "41s", "30s", 2, 0},

		{scraped + "3s handOver", "departing handOver", "33s", "10s", 0, 0},
		{scraped + "3s handOver, 4s lose", "departing mark", "4s", "10s", 0, 0},
		{scraped + "3s lose, 4s handOver", "departing handOver", "33s", "10s", 0, 0},
		{"0s due, 0s hostFree, 1s handOver, 2s lose, 3s finish", "departing mark", "2s", "10s", 0, 0},

		{scraped + "2s planMove, 24s due", "queued", "10s", "", 0, 0},
		{scraped + "2s planMove, 24s due, 24s hostFree", "scraping", "10s", "", 0, 0},
		{scraped + "2s planMove, 25s due", "departing handOver", "37s", "10s", 0, 0},
		{scraped + "2s planMove, 24s due, 26s hostFree", "departing handOver", "37s", "10s", 0, 0},
		{scraped + "2s planMove, 25s due, 26s handOver", "departing handOver", "37s", "10s", 0, 0},
		{scraped + "2s planMove, 25s due, 26s lose", "departing mark", "26s", "10s", 0, 0},

		{asked + "1s finish1", "idle", "10s", "", 0, 0},
		{asked + "1s finish2", "idle", "20s", "", 0, 0},
		{asked + "1s finish4", "idle", "40s", "", 0, 0},
		{asked + "1s finish4, 40s due", "queued", "40s", "", 0, 3},
		{asked + "1s finish4, 40s due, 40s hostFree, 41s finish2, 60s due", "queued", "60s", "", 0, 4},
		{asked + "1s finish4, 40s due, 40s hostFree, 41s finish, 50s due", "queued", "50s", "", 0, 3},
		{asked + "35s finish4", "idle", "40s", "", 0, 0}, // no turn came that was not left out
		{asked + "35s finish2", "idle", "30s", "", 1, 0}, // 20 s is skipped, 30 s taken late
		{"0s due, 25s hostFree, 26s finish4", "idle", "40s", "", 0, 0},

		// A target is lost, or goes to another instance: it misses the next of all turns.
		{asked + "1s finish4, 3s lose", "departing mark", "21s", "10s", 0, 0},
		{asked + "1s finish4, 13s lose", "departing mark", "31s", "20s", 0, 0},
		{asked + "1s finish4, 39s lose", "departing mark", "51s", "40s", 0, 0},
		{asked + "1s finish4, 3s lose, 4s planMove", "departing mark", "21s", "10s", 0, 0},
		{asked + "1s finish4, 21s lose, 22s planMove", "departing mark", "41s", "30s", 0, 0},
		{asked + "1s lose, 4s finish4", "departing mark", "21s", "10s", 0, 0},
		{asked + "1s finish4, 3s handOver", "departing handOver", "33s", "10s", 0, 0},

		// Its due times are shifted from the next scrape's on, by half an interval at most.
		{scraped + "2s shift4", "idle", "10s", "", 0, 0},
		{scraped + "2s shift4, 10s due, 10s hostFree, 11s finish", "idle", "24s", "", 0, 0},
		{scraped + "2s shift4, 10s due, 10s hostFree, 11s finish2", "idle", "34s", "", 0, 0},
		{asked + "1s shift5, 2s finish", "idle", "15s", "", 0, 0},
		{asked + "1s shift-5, 2s finish", "idle", "15s", "", 0, 0},
		{asked + "1s shift6, 2s finish", "idle", "6s", "", 0, 0},
		{asked + "1s shift6, 1s shift6, 2s finish", "idle", "12s", "", 0, 0},
		{asked + "1s shift4, 1s shift-4, 2s finish", "idle", "10s", "", 0, 0},
		{asked + "1s shift6, 8s finish", "idle", "6s", "", 0, 0}, // taken late
		{asked + "1s shift4, 35s finish", "idle", "34s", "", 2, 0},
		{scraped + "2s shift4, 3s lose", "departing mark", "21s", "10s", 0, 0},
		{asked + "1s shift4, 1s lose, 2s finish", "departing mark", "25s", "14s", 0, 0},

		// It moves at 25 s, and is asked at the last turn before that.
		{asked + "0s planMove, 1s finish4", "idle", "20s", "", 0, 0},
		{asked + "0s planMove, 1s finish2", "idle", "20s", "", 0, 0},
		{asked + "1s finish4, 3s planMove", "idle", "20s", "", 0, 0},
		{asked + "1s finish4, 3s planMove, 20s due", "queued", "20s", "", 0, 1},
		{asked + "1s finish4, 21s planMove", "idle", "30s", "", 0, 0}, // there is none
		{asked + "1s finish4, 21s planMove, 30s due", "departing handOver", "37s", "30s", 0, 0},
	} {
		t.Run(c.steps, func(t *testing.T) {
			start := time.Now()
			since := func(text string) time.Time {
				d, err := time.ParseDuration(text)
				if err != nil {
					t.Fatal(err)
				}
				return start.Add(d)
			}
			l, skipped, left := life{state: stateIdle, interval: 10 * time.Second, due: start}, 0, 0
			for step := range strings.SplitSeq(c.steps, ", ") {
				at, name, _ := strings.Cut(step, " ")
				e := event{
					kind: eventKind(slices.Index(eventNames(), name)), first: since("33s"),
					move: move{at: since("25s"), first: since("37s")},
				}
				if turns, ok := strings.CutPrefix(name, "finish"); ok {
					e.kind = eventFinish
					e.turns, _ = strconv.Atoi(turns)
				}
				if seconds, ok := strings.CutPrefix(name, "shift"); ok {
					by, _ := strconv.Atoi(seconds)
					e.kind, e.shift = eventShift, time.Duration(by)*time.Second
				}
				var then effects
				l, then = l.after(e, since(at))
				skipped, left = skipped+then.skipped, left+then.leftOut
			}
			if got := nameOf(l, effects{}); got != c.state || skipped != c.skipped || left != c.left {
				t.Errorf("%s, %d skipped, %d left out, want %s, %d, %d", got, skipped, left, c.state, c.skipped, c.left)
			}
			if !l.due.Equal(since(c.due)) {
				t.Errorf("due after %v, want %s", l.due.Sub(start), c.due)
			}
			if c.missed != "" && !l.missed.Equal(since(c.missed)) {
				t.Errorf("missed the scrape after %v, want %s", l.missed.Sub(start), c.missed)
			}
		})
	}
}

// TestASuccessorKeepsItsDueTimes: one whose predecessor scraped for long takes the first of its due times that is left.
func TestASuccessorKeepsItsDueTimes(t *testing.T) {
	start := time.Now()
	for late, want := range map[time.Duration]time.Duration{
		-time.Second: 0, 0: 10 * time.Second, 9 * time.Second: 10 * time.Second, 10 * time.Second: 20 * time.Second,
	} {
		l, _ := life{interval: 10 * time.Second, due: start}.after(event{kind: eventStart}, start.Add(late))
		if got := l.due.Sub(start); got != want {
			t.Errorf("started %v after the first due time: due after %v, want %v", late, got, want)
		}
	}
}
