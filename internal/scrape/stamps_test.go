package scrape

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func TestRow13TimestampsAreThoseOfTheTurns(t *testing.T) {
	const interval = 10 * time.Second
	start := time.Unix(1_700_000_000, 123_000_000)
	var s stamps
	for _, c := range []struct {
		name           string
		now, due, want time.Duration // since start
	}{
		{"on time", 0, 0, 0},
		{"a hundredth of the interval late", interval + interval/100, interval, interval},
		{"later than that", 2*interval + interval/100 + 1, 2 * interval, 2*interval + interval/100 + 1},
		{"early, for the wall clock was corrected", 3*interval - time.Millisecond, 3 * interval, 3 * interval},
		{"a turn that is not newer than the last sample", 3*interval + 5*time.Millisecond, 3 * interval,
			3*interval + 5*time.Millisecond},
		{"the wall clock was set back", -time.Hour, -time.Hour - 3*time.Millisecond, -time.Hour},
		{"the wall clock is right again", 5*interval + time.Millisecond, 5 * interval, 5 * interval},
	} {
		if got := s.scrape(start.Add(c.now), start.Add(c.due), interval); !got.Equal(start.Add(c.want)) {
			t.Errorf("%s: %v, want %v", c.name, got.Sub(start), c.want)
		}
	}
	if got := s.scrape(start.Add(time.Minute), time.Time{}, interval); !got.Equal(start.Add(time.Minute)) {
		t.Errorf("without a turn: %v, want a minute", got.Sub(start))
	}
}

// TestRow06TheTimeOfTheLastMarkers is that of the first scrape missed, by the wall clock as it is now, and newer than
// every sample.
func TestRow06TheTimeOfTheLastMarkers(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		newest, missed, set, want time.Duration // since now
	}{
		"the usual case": {newest: -11 * time.Second, missed: -time.Second, want: -time.Second},
		"the last scrape was late": {newest: -time.Second, missed: -3 * time.Second,
			want: -time.Second + time.Millisecond},
		"the wall clock was set forward since": {newest: time.Hour - 11*time.Second, missed: -time.Second,
			set: time.Hour, want: time.Hour - time.Second},
		"the wall clock was set back since": {newest: -11 * time.Second, missed: -time.Second, set: -time.Hour,
			want: -11*time.Second + time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := stamps{newest: now.Add(c.newest).UnixMilli()}
			got := s.markers(set(now, c.set), now.Add(c.missed))
			if want := now.Add(c.want).UnixMilli(); got < want-1 ||
				got > want { // milliseconds are cut off in different places
				t.Errorf("%d ms after now, want %d", got-now.UnixMilli(), want-now.UnixMilli())
			}
			if got <= s.newest {
				t.Errorf("%d ms before the newest sample", s.newest-got)
			}
		})
	}
}

// slowReader makes each batch take its time, as on a busy machine: the first of a target, which is learned, longest.
type slowReader struct {
	mu     sync.Mutex
	random *rand.Rand
	times  map[series.TargetID][]int64
}

func (s *slowReader) Flush() {}

func (s *slowReader) Append(b *series.Batch) error {
	s.mu.Lock()
	delay := time.Duration(s.random.IntN(9000)) * time.Microsecond
	if len(s.times[b.Target]) == 0 {
		delay += 60 * time.Millisecond
	}
	s.times[b.Target] = append(s.times[b.Target], b.Time)
	s.mu.Unlock()
	<-time.After(delay)
	return nil
}

// TestRow13TimestampsOfLateScrapes: scrapes of one wave wait for each other, the longer the busier the machine. The
// distances between the timestamps of a target stay equal all the same, and no timestamp is off by more than a
// hundredth of the interval.
func TestRow13TimestampsOfLateScrapes(t *testing.T) {
	for _, c := range []struct {
		targets  int
		interval time.Duration
	}{{100, 5 * time.Second}, {200, 10 * time.Second}, {30, 15 * time.Second}, {70, 15 * time.Second},
		{200, time.Minute}} {
		t.Run(fmt.Sprintf("%d every %v", c.targets, c.interval), func(t *testing.T) {
			timestampsOfLateScrapes(t, c.targets, c.interval)
		})
	}
}

func timestampsOfLateScrapes(t *testing.T, targets int, interval time.Duration) {
	during(t, func(t *testing.T, r *rig) {
		s := &slowReader{random: rand.New(rand.NewPCG(1, 2)), times: map[series.TargetID][]int64{}}
		r.env.sink = s
		var found []model.LabelSet
		for i := range targets {
			host := fmt.Sprintf("10.0.0.%d:15090", i)
			r.pages.set(host, "x 1\n")
			found = append(found, at(host))
		}
		r.apply(t, job(t, fmt.Sprintf("  scrape_interval: %vs\n", interval.Seconds())))
		r.discover(found...)
		pass(24 * interval)
		equal, all := 0, 0
		for _, times := range s.times {
			for i := 2; i < len(times); i++ {
				if all++; times[i]-times[i-1] == times[i-1]-times[i-2] {
					equal++
				}
			}
		}
		if all < 20*targets || equal*100 < all*95 {
			t.Errorf("%d of %d distances between two timestamps are equal to the one before, want 95 %%", equal, all)
		}
	})
}
