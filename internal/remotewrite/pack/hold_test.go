package pack

import (
	"slices"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func TestScrapesPerRequest(t *testing.T) {
	for _, c := range []struct {
		delay, interval time.Duration
		want            int
	}{
		{5 * time.Second, 10 * time.Second, 1},
		{5 * time.Second, time.Second, 5},
		{10 * time.Second, 10 * time.Second, 1},
		{30 * time.Second, 10 * time.Second, 3},
		{30 * time.Second, 15 * time.Second, 2},
		{30 * time.Second, 20 * time.Second, 1},
		{time.Minute, 10 * time.Second, 6},
		{time.Minute, 0, 1}, // a batch whose interval is not known
	} {
		if got := ScrapesPerRequest(c.delay, c.interval); got != c.want {
			t.Errorf("delay %v, interval %v: %d scrapes, want %d", c.delay, c.interval, got, c.want)
		}
	}
}

// scrapes are the due times of one stream, in seconds after its first scrape, when it is scraped every 10 s; 0: at
// once. Scrapes in urgent are urgent.
func scrapes(stream uint32, n int, delay time.Duration, urgent map[int]bool, count int) (due []int) {
	began := time.Unix(1_700_000_000, 0)
	var h holds
	for i := range count {
		now := began.Add(time.Duration(i) * 10 * time.Second)
		b := &series.Batch{Time: now.UnixMilli(), Urgent: urgent[i]}
		at := h.scrape(stream, b, n, delay, now)
		if again := h.scrape(stream, b, n, delay, now); again != at {
			panic("the same scrape got another due time")
		}
		seconds := 0
		if !at.IsZero() {
			seconds = int(at.Sub(began).Seconds())
		}
		due = append(due, seconds)
	}
	return due
}

func TestTheLastOfSeveralScrapesIsDueAtOnce(t *testing.T) {
	const delay = 30 * time.Second
	for _, c := range []struct {
		name   string
		stream uint32 // its upper half; the first group has 1 + stream%3 scrapes
		urgent map[int]bool
		want   []int
	}{
		{"three scrapes", 2, nil, []int{30, 30, 0, 60, 60, 0, 90}},
		{"first group of two", 1, nil, []int{30, 0, 50, 50, 0, 80, 80}},
		{"first group of one", 3, nil, []int{0, 40, 40, 0, 70, 70, 0}},
		{"an urgent scrape takes the waiting ones along", 2, map[int]bool{1: true, 4: true},
			[]int{30, 0, 50, 50, 0, 80, 80}},
	} {
		if got := scrapes(c.stream<<16, 3, delay, c.urgent, len(c.want)); !slices.Equal(got, c.want) {
			t.Errorf("%s: due after %v s, want %v", c.name, got, c.want)
		}
	}
}

// TestScrapesOfASlowedTargetAreDueInTime: a target that is asked at every second or fourth turn only. Its requests are
// not filled, and wait no longer than the delay.
func TestScrapesOfASlowedTargetAreDueInTime(t *testing.T) {
	const delay, interval, n = 30 * time.Second, 10 * time.Second, 3
	for turns, want := range map[int][]int{2: {30, 30, 70, 70, 110}, 4: {30, 70, 110, 150, 190}} {
		began := time.Unix(1_700_000_000, 0)
		var h holds
		var due []int
		for i := range want {
			now := began.Add(time.Duration(i*turns) * interval)
			at := h.scrape(2<<16, &series.Batch{Time: now.UnixMilli(), Interval: interval}, n, delay, now)
			due = append(due, int(at.Sub(began).Seconds()))
		}
		if !slices.Equal(due, want) {
			t.Errorf("asked at every turn of %d: due after %v s, want %v", turns, due, want)
		}
	}
}

func TestSamplesOfAnotherTargetDoNotMakeAStreamDue(t *testing.T) {
	var h holds
	now := time.Unix(1_700_000_000, 0)
	due := h.scrape(2<<16, &series.Batch{Time: 1}, 3, 30*time.Second, now)
	later := now.Add(7 * time.Second)
	if got := h.more(2<<16, 30*time.Second, later); got != due {
		t.Errorf("added to a waiting stream: due %v, want %v", got, due)
	}
	if got, want := h.more(5, 30*time.Second, later), later.Add(30*time.Second); got != want {
		t.Errorf("added to a stream without waiting scrapes: due %v, want %v", got, want)
	}
}

func TestHoldsOfTargetsThatAreGoneAreForgotten(t *testing.T) {
	var h holds
	now := time.Unix(1_700_000_000, 0)
	h.scrape(1, &series.Batch{Time: 1}, 3, time.Second, now)
	h.scrape(2, &series.Batch{Time: 1}, 3, time.Second, now.Add(time.Hour))
	if h.forget(now.Add(time.Minute)); len(h.of) != 1 || h.of[2] == nil {
		t.Errorf("left: %v, want stream 2 alone", h.of)
	}
}
