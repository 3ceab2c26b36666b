package aggregate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// others are series that a page has beside that of requests.
func others(v float64, names ...string) (lines []line) {
	for _, name := range names {
		lines = append(lines, line{"istio_" + name + "_total", "", model.MetricTypeCounter, v})
	}
	return slices.Clip(lines)
}

// envoyCounters is a block for the Envoy's own counters.
func envoyCounters() Block {
	block := istio()
	block.Match = regexp.MustCompile("^(?s:envoy_.*)$")
	return block
}

// TestPageWithoutTheEnvoysPart: Istio's agent merges the page of the Envoy with that of the application. If it cannot
// read the former, the scrape is good all the same.
func TestPageWithoutTheEnvoysPart(t *testing.T) {
	app := line{"envoy_app_total", "", model.MetricTypeCounter, 1}
	for _, c := range []struct {
		name    string
		missing [][]line // pages in between
		uptime  time.Duration
		last    float64
		want    float64
	}{
		{"once", [][]line{{app}}, 2 * time.Hour, 1_000_010, 10},
		{"for three scrapes", [][]line{{app}, {app}, {app}}, 2 * time.Hour, 1_000_010, 10},
		{"nothing at all", [][]line{{}}, 2 * time.Hour, 1_000_010, 10},
		{"first this, then that", [][]line{{app}, {}}, 2 * time.Hour, 1_000_010, 10},
		{"it began again at 0", [][]line{{app}}, 2 * time.Hour, 40, 40},
		{"it is of another process", [][]line{{app}}, 15 * time.Second, 1_000_010, 1_000_010},
		{"too long", [][]line{{app}, nil}, 2 * time.Hour, 1_000_010, 1_000_010},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, istio(), envoyCounters())
			a := b.target("a")
			b.wait(time.Second)
			a.uptime = time.Hour
			a.scrape(requests(1_000_000), app)
			b.wait(10 * time.Second)
			a.scrape(requests(1_000_000), app)
			for _, lines := range c.missing {
				b.wait(10 * time.Second)
				if a.uptime = -1; lines == nil {
					b.wait(lostFor)
					continue
				}
				a.scrape(lines...)
			}
			b.wait(10 * time.Second)
			a.uptime = c.uptime
			a.scrape(requests(c.last), app)
			b.wait(10 * time.Second)
			if c.name == "too long" { // the aggregate was idle, so that it begins at 0 again
				b.wait(10 * time.Second)
				a.scrape(requests(c.last), app)
				b.wait(10 * time.Second)
			}
			samples := b.sent[total]
			if got := samples[len(samples)-1].value; got != c.want {
				t.Errorf("counted %v, want %v", got, c.want)
			}
			b.want(raw("a"), "")
		})
	}
}

// TestBlocksChangeWhileThePartIsMissing: the block of the series stays.
func TestBlocksChangeWhileThePartIsMissing(t *testing.T) {
	app := line{"envoy_app_total", "", model.MetricTypeCounter, 1}
	for before := range 3 {
		for after := range 3 {
			b := newBed(t, istio())
			a := b.target("a")
			b.wait(time.Second)
			a.scrape(requests(1000), app)
			for range before {
				b.wait(10 * time.Second)
				a.scrape(app)
			}
			b.a.Apply([]Block{istio(), envoyCounters()})
			for range after {
				b.wait(10 * time.Second)
				a.scrape(app)
			}
			b.wait(10 * time.Second)
			a.scrape(requests(1010), app)
			b.wait(10 * time.Second)
			samples := b.sent[total]
			if got := samples[len(samples)-1].value; got != 10 {
				t.Errorf("%d pages before, %d after: counted %v, want 10", before, after, got)
			}
			b.want(raw("a"), "")
			a.end()
			b.wait(10 * time.Minute)
			if n := len(b.a.sources); n != 0 {
				t.Errorf("%d sources left", n)
			}
		}
	}
}

// TestSeriesThatWereMissingBeforeTheirBlock: no block had summed them, and they were not on the first page under it.
func TestSeriesThatWereMissingBeforeTheirBlock(t *testing.T) {
	cx := line{"envoy_cx_total", "", model.MetricTypeCounter, 1000}
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5), cx)
	b.wait(10 * time.Second)
	a.scrape()
	b.a.Apply([]Block{istio(), envoyCounters()})
	b.wait(10 * time.Second)
	a.scrape()
	b.wait(10 * time.Second)
	a.scrape(requests(6), cx)
	b.wait(10 * time.Second)
	cx.value = 1001
	a.scrape(requests(6), cx)
	b.wait(10 * time.Second)
	b.want(aggregate("envoy_cx_total", "", ""), "40:0 50:1")
}

// TestNewProcessShowsItsSeriesOneByOne: those that the page of the process before had may be lost or gone. They say
// nothing about the others.
func TestNewProcessShowsItsSeriesOneByOne(t *testing.T) {
	names := strings.Split("abcdefghijklmnopqrst", "")
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(append(others(500, names...), requests(100))...)
	b.wait(10 * time.Second)
	a.scrape(requests(45))
	b.wait(10 * time.Second)
	a.scrape(append(others(3, names...), requests(46))...)
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:45 30:46")
	b.want(aggregate("istio_t_total", "", ""), "10:0 20:0 30:3")
}

// TestNewProcessShowsWhatItHasLater: its first page has the lines that the last page of the process before had.
func TestNewProcessShowsWhatItHasLater(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	a.uptime = time.Hour
	b.wait(time.Second)
	a.scrape(requests(100), others(1, "x")[0])
	a.uptime = -1
	for i, uptime := range []time.Duration{-1, 4 * time.Second} {
		b.wait(10 * time.Second)
		a.uptime = uptime
		a.scrape(others(float64(1+i), "x")...)
	}
	b.wait(10 * time.Second)
	a.uptime = 14 * time.Second
	a.scrape(others(2, "x")[0], requests(130))
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:0 30:0 40:130")
}

// TestLinesLeftOut: a page leaves out lines with old timestamps.
func TestLinesLeftOut(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	kept := others(1, "x", "y", "z")
	b.wait(time.Second)
	a.scrape(append(kept, requests(100))...)
	b.wait(10 * time.Second)
	a.partial = true
	a.scrape(kept...)
	b.wait(10 * time.Second)
	a.scrape(append(kept, requests(110), others(1000, "old")[0])...)
	b.wait(10 * time.Second)
	a.partial = false
	a.scrape(append(kept, requests(111), others(1001, "old")[0], others(2000, "older")[0])...)
	b.wait(10 * time.Second)
	a.scrape(append(kept, requests(111), others(1001, "old")[0], others(2002, "older")[0], others(4, "new")[0])...)
	b.wait(10 * time.Second)
	a.scrape(append(kept, requests(111), others(1001, "old")[0], others(2002, "older")[0], others(5, "new")[0])...)
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:0 30:10 40:11 50:11 60:11")
	b.want(aggregate("istio_old_total", "", ""), "30:0 40:1 50:1 60:1")
	b.want(aggregate("istio_older_total", "", ""), "40:0 50:2 60:2")
	b.want(aggregate("istio_new_total", "", ""), "50:0 60:5")
}

// TestLinesLeftOutAgain: a series that was missing, returned, and vanished alone counts nothing when it is on a page
// with lines left out.
func TestLinesLeftOutAgain(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	kept := others(1, "x", "y", "z")
	b.wait(time.Second)
	for i, lines := range [][]line{append(kept, requests(100)), {}, append(kept, requests(110)), kept} {
		b.wait(10 * time.Second)
		a.scrape(lines...)
		a.partial = i == 3
	}
	b.wait(10 * time.Second)
	a.scrape(append(kept, requests(7))...)
	b.wait(10 * time.Second)
	b.want(total, "20:0 30:0 40:10 50:10 60:10")
}

// TestLineLeftOutAndThenMissing: it returns when no page lacks lines any more.
func TestLineLeftOutAndThenMissing(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	kept := others(1, "x", "y", "z")
	b.wait(time.Second)
	a.scrape(append(kept, requests(100))...)
	b.wait(10 * time.Second)
	a.partial = true
	a.scrape(kept...)
	b.wait(10 * time.Second)
	a.partial = false
	a.scrape()
	b.wait(10 * time.Second)
	a.scrape(append(kept, requests(110))...)
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:0 30:0 40:10")
}

// TestEntryThatIsTakenAwayAndPutBack between two scrapes: no series was sent as it was.
func TestEntryThatIsTakenAwayAndPutBack(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5))
	b.wait(10 * time.Second)
	b.a.Apply(nil)
	b.now = b.now.Add(time.Second)
	b.a.Apply([]Block{istio()})
	a.scrape(requests(8))
	b.wait(10 * time.Second)
	b.want(raw("a"), "")
	b.want(total, "10:0 11:stale 20:0")
}

// TestEntryThatIsTakenAwayBeforeAFailedScrape: the series that were summed get no markers.
func TestEntryThatIsTakenAwayBeforeAFailedScrape(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5))
	b.wait(10 * time.Second)
	b.a.Apply(nil)
	b.wait(10 * time.Second)
	a.fail()
	b.want(raw("a"), "")
	b.wait(10 * time.Second)
	a.scrape(requests(8))
	b.want(raw("a"), "31:8")
}

// TestHugeValuesLeaveOthersAlone: a hostile page cannot make the aggregates of its group begin again.
func TestHugeValuesLeaveOthersAlone(t *testing.T) {
	b := newBed(t, istio())
	a, hostile := b.target("a"), b.target("hostile")
	b.wait(time.Second)
	for i := range 6 {
		huge := []float64{1e300, 5e299}[i%2]
		hostile.scrape(requests(huge), others(huge, "x")[0])
		a.scrape(requests(float64(100 + i)))
		b.wait(10 * time.Second)
	}
	b.want(total, "10:0 20:1 30:2 40:3 50:4 60:5")
	b.want(aggregate("istio_x_total", "", ""), "10:0 20:0 30:0 40:0 50:0 60:0")
}

// TestOnePodDoesNotSetTheTick: its labels may set an interval.
func TestOnePodDoesNotSetTheTick(t *testing.T) {
	b := newBed(t, istio())
	quick := b.target("quick")
	quick.interval = time.Second
	for _, pod := range []string{"a", "b"} {
		b.target(pod).scrape(requests(1))
	}
	for range 30 {
		quick.scrape(requests(1))
		b.wait(time.Second)
	}
	b.want(total, "10:0 20:0 30:0")
}

// TestManyAggregatesBecomeIdleAtOnce: each is written with all that it has before it ends.
func TestManyAggregatesBecomeIdleAtOnce(t *testing.T) {
	const n = mostIdle + 5000
	b := newBed(t, istio())
	a := b.target("a")
	page := func(v float64) (lines []line) {
		for i := range n {
			lines = append(lines, line{"istio_requests_total", fmt.Sprint("path=", i), model.MetricTypeCounter, v})
		}
		return lines
	}
	b.wait(time.Second)
	a.scrape(page(1)...)
	b.wait(10 * time.Second)
	a.scrape(page(3)...)
	a.end()
	for range 3 {
		b.wait(10 * time.Second)
	}
	ended := 0
	for name, samples := range b.sent {
		if !strings.Contains(name, "path=") {
			continue
		}
		if samples[1].value != 2 {
			t.Fatalf("%s: %v, want 0 and 2", name, samples)
		}
		if last := samples[len(samples)-1].value; last != last {
			ended++
		}
	}
	if ended < n-mostIdle {
		t.Errorf("%d aggregates have ended, want at least %d", ended, n-mostIdle)
	}
}

// TestFirstPageWithoutTheEnvoysPart: what is new on the first page with an uptime may be old, unless the process is
// young. So may what is new after a page that had nothing to sum, if no page has an uptime.
func TestFirstPageWithoutTheEnvoysPart(t *testing.T) {
	for uptime, want := range map[time.Duration]string{
		time.Hour: "90:0 100:1", 7 * time.Second: "90:0 100:1001", -1: "90:0 100:1",
	} {
		for _, afterGap := range []bool{false, true} {
			b := newBed(t, istio())
			b.wait(time.Minute)
			a := b.target("a")
			if afterGap {
				a.uptime = 2 * time.Hour
				a.scrape()
			}
			b.wait(10 * time.Second)
			a.uptime, a.hasGap = -1, afterGap
			a.scrape()
			a.hasGap = false
			b.wait(10 * time.Second)
			a.uptime = uptime
			a.scrape(requests(1000))
			b.wait(10 * time.Second)
			a.scrape(requests(1001))
			b.wait(10 * time.Second)
			b.want(total, want)
		}
	}
}
