package aggregate

import (
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func TestTwoReplicasAreOneSeries(t *testing.T) {
	b := newBed(t, istio())
	a, c := b.target("a"), b.target("b")
	b.wait(time.Second)
	a.scrape(requests(5))
	c.scrape(requests(9))
	b.wait(9 * time.Second) // 10
	b.wait(time.Second)
	a.scrape(requests(8))
	c.scrape(requests(9))
	b.wait(9 * time.Second) // 20
	b.wait(time.Second)
	a.scrape(requests(10))
	b.wait(9 * time.Second)
	b.want(total, "10:0 20:3 30:5")
	b.want(raw("a"), "")
	b.want(`{__name__="up", app="reviews", instance="a:15090", job="envoy", pod="a"}`, "1:1 11:1 21:1")
}

func TestFailedScrapeKeepsWhatWasKnown(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5))
	b.wait(10 * time.Second)
	a.fail()
	b.wait(10 * time.Second)
	a.scrape(requests(9))
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:0 30:4")
	b.want(raw("a"), "")
}

func TestBornSeriesCountsFromZero(t *testing.T) {
	for _, skip := range []bool{false, true} {
		block, want := istio(), "10:0 20:5 30:7"
		if block.SkipFirst = skip; skip {
			want = "10:0 20:0 30:2"
		}
		b := newBed(t, block)
		a := b.target("a")
		other := line{"istio_requests_total", "code=500", model.MetricTypeCounter, 3}
		b.wait(time.Second)
		a.scrape(other)
		b.target("b").scrape(requests(1))
		b.wait(10 * time.Second)
		a.scrape(other, requests(5))
		b.wait(9 * time.Second) // tick 20 counts the birth
		b.wait(time.Second)
		a.scrape(other, requests(7))
		b.wait(10 * time.Second)
		b.want(total, want)
	}
}

func TestResetCountsFromZero(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5))
	b.wait(10 * time.Second)
	a.scrape(requests(2))
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:2")
}

func TestRestartCountsAllFromZero(t *testing.T) {
	other := func(v float64) line { return line{"istio_requests_total", "code=500", model.MetricTypeCounter, v} }
	const others = `{__name__="istio_requests_total", app="reviews", code="500", instance="node-7", job="envoy"}`
	b := newBed(t, istio())
	a := b.target("a")
	a.uptime = time.Hour
	b.wait(time.Second)
	a.scrape(requests(100), other(1))
	b.wait(10 * time.Second)
	a.uptime = 3 * time.Second
	a.scrape(requests(10), other(4)) // the second has grown past what it had before
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:10")
	b.want(others, "10:0 20:4")
}

// TestClockSetBackIsNoRestart: Envoy's uptime falls with the clock of its node. That counters fall too says nothing, if
// the process is older than the last page.
func TestClockSetBackIsNoRestart(t *testing.T) {
	evicted := func(v float64) line { return line{"istio_requests_total", "code=500", model.MetricTypeCounter, v} }
	b := newBed(t, istio())
	a := b.target("a")
	a.uptime = time.Hour
	b.wait(time.Second)
	a.scrape(requests(100), evicted(50))
	b.wait(10 * time.Second)
	a.uptime = time.Minute
	a.scrape(requests(110), evicted(1))
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:10")
}

func TestYoungProcessCountsFromZero(t *testing.T) {
	b := newBed(t, istio())
	old := b.target("old")
	old.uptime = 5 * time.Second // it began before this program: another one may have counted it
	b.wait(time.Second)
	old.scrape(requests(50))
	b.wait(30 * time.Second)
	young := b.target("young")
	young.uptime = 8 * time.Second
	young.scrape(requests(4))
	elder := b.target("elder")
	elder.uptime = 12 * time.Second
	elder.scrape(requests(1000))
	b.wait(10 * time.Second)
	b.want(total, "30:0 40:4")
}

func TestTargetThatIsGoneKeepsItsShare(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5))
	b.wait(10 * time.Second)
	a.scrape(requests(8))
	a.end()
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:3")
	b.want(raw("a"), "")
	for range 30 {
		b.wait(10 * time.Second)
	}
	samples := b.sent[total]
	last := samples[len(samples)-1]
	if last.value == last.value {
		t.Errorf("after idle: %v, want a staleness marker", last)
	}
	if at := time.Duration(last.at) * time.Millisecond; at < 5*time.Minute || at > 5*time.Minute+21*time.Second {
		t.Errorf("marker at %v, want just after 5m", at)
	}
	if len(b.a.groups) != 0 || len(b.a.feeds) != 0 || len(b.a.sources) != 0 {
		t.Errorf("left: %d groups, %d feeds, %d sources", len(b.a.groups), len(b.a.feeds), len(b.a.sources))
	}
	// It begins at 0 again.
	c := b.target("c")
	c.scrape(requests(100))
	b.wait(10 * time.Second)
	samples = b.sent[total]
	if last := samples[len(samples)-1]; last.value != 0 {
		t.Errorf("after the return: %v, want 0", last)
	}
}

func TestSeriesThatWereRawGetMarkers(t *testing.T) {
	b := newBed(t)
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5))
	b.want(raw("a"), "1:5")
	b.a.Apply([]Block{istio()})
	b.wait(10 * time.Second)
	a.scrape(requests(8))
	b.wait(10 * time.Second)
	a.scrape(requests(9))
	b.wait(10 * time.Second)
	b.want(raw("a"), "1:5 11:stale")
	b.want(total, "20:0 30:1")
	b.a.Apply(nil)
	b.now = b.now.Add(time.Second)
	a.scrape(requests(10))
	b.want(total, "20:0 30:1 31:stale")
	b.want(raw("a"), "1:5 11:stale 32:10")
}

func TestChangedBlockBeginsAtZeroAndUnchangedGoesOn(t *testing.T) {
	other := istio() // equal to the block in force, but not the same
	b := newBed(t, istio())
	a := b.target("a")
	b.wait(time.Second)
	a.scrape(requests(5))
	b.wait(10 * time.Second)
	a.scrape(requests(8))
	b.wait(10 * time.Second) // 21
	b.a.Apply([]Block{other})
	a.scrape(requests(9))
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:3 30:4")
	other.Idle = time.Hour
	b.a.Apply([]Block{other})
	a.scrape(requests(11))
	b.wait(10 * time.Second)
	a.scrape(requests(13))
	b.wait(10 * time.Second)
	b.want(total, "10:0 20:3 30:4 31:stale 40:0 50:2")
	b.want(raw("a"), "")
}

// TestSequenceThatBeginsAnew: the pages before were read under other rules, so the next one is only what later ones are
// compared with. No series was sent as it was, so none gets a marker, even if the first scrape fails.
func TestSequenceThatBeginsAnew(t *testing.T) {
	for _, fails := range []bool{false, true} {
		b := newBed(t, istio())
		a := b.target("a")
		a.uptime = 2 * time.Second // the process is young at its second page, too
		b.wait(time.Minute)
		a.scrape(requests(5))
		b.wait(10 * time.Second)
		a.hasGap = true
		if fails {
			a.fail()
			b.wait(10 * time.Second)
		}
		a.scrape(requests(8))
		a.hasGap = false
		b.wait(10 * time.Second)
		a.scrape(requests(10))
		b.wait(10 * time.Second)
		want := "70:0 80:5 90:7"
		if fails {
			want = "70:0 80:5 90:5 100:7"
		}
		b.want(total, want)
		b.want(raw("a"), "")
	}
}

// TestFirstScrapeFails: no series was sent, so none gets a marker.
func TestFirstScrapeFails(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	a.fail()
	b.wait(10 * time.Second)
	a.scrape(requests(5))
	b.wait(10 * time.Second)
	b.want(raw("a"), "")
}

// TestTargetThatMovesWhileItsProcessIsYoung: the instance before scraped it 4 s ago, and counted it.
func TestTargetThatMovesWhileItsProcessIsYoung(t *testing.T) {
	b := newBed(t, istio())
	b.wait(time.Minute)
	a := b.target("a")
	a.interval = 2 * time.Second
	a.uptime = 0 // it is 5 s old, and has not flushed its stats yet
	a.scrape(requests(50))
	b.wait(2 * time.Second)
	a.scrape(requests(51))
	b.wait(2 * time.Second)
	b.want(total, "62:0 64:1")
}

// TestPodThatIsLostAndFoundAgain: its young process has been counted already.
func TestPodThatIsLostAndFoundAgain(t *testing.T) {
	b := newBed(t, istio())
	b.wait(time.Minute)
	a := b.target("a")
	a.uptime = 0
	a.scrape(requests(50))
	b.wait(time.Second)
	a.end()
	b.wait(9 * time.Second)
	a = b.target("a")
	a.uptime = 5 * time.Second // it is 10 s old
	a.scrape(requests(60))
	b.wait(time.Second)
	a.end()
	b.wait(19 * time.Second)
	a = b.target("a")
	a.uptime = 3 * time.Second // another process
	a.scrape(requests(7))
	b.wait(10 * time.Second)
	b.want(total, "70:0 90:50 100:57")
	for _, age := range []time.Duration{0, time.Hour} {
		b.wait(time.Minute)
		a.uptime = age
		a.scrape(requests(60))
		a.end()
		if got, want := len(b.a.young), map[bool]int{true: 1}[age == 0]; got != want {
			t.Errorf("%d young processes are known, want %d", got, want)
		}
		b.next++
		a.source, a.live, a.again = b.next, nil, false
	}
}

// TestAnotherProcessHasLostNothing: its page has the lines of the page before, on which others were missing. When those
// are back, they count from 0.
func TestAnotherProcessHasLostNothing(t *testing.T) {
	other := func(v float64) line { return line{"istio_requests_total", "code=500", model.MetricTypeCounter, v} }
	b := newBed(t, istio())
	a := b.target("a")
	for _, page := range []struct {
		uptime time.Duration
		lines  []line
	}{
		{50 * time.Second, []line{requests(1), other(10)}},
		{60 * time.Second, []line{requests(2)}},
		{5 * time.Second, []line{requests(3)}},
		{15 * time.Second, []line{requests(4), other(20)}},
	} {
		b.now = b.now.Add(time.Second)
		a.uptime = page.uptime
		a.scrape(page.lines...)
		b.wait(9 * time.Second)
	}
	b.want(aggregate("istio_requests_total", "code", "500"), "10:0 20:0 30:0 40:20")
}

// TestFirstPageWithoutTheEnvoy: Istio's agent could not read the Envoy's page, and served the rest. When the uptime
// comes, so do the lines of the Envoy, which are not new.
func TestFirstPageWithoutTheEnvoy(t *testing.T) {
	other := func(v float64) line { return line{"istio_requests_total", "code=500", model.MetricTypeCounter, v} }
	b := newBed(t, istio())
	a := b.target("a")
	for _, page := range []struct {
		uptime time.Duration
		lines  []line
	}{
		{-1, []line{requests(1)}},
		{time.Hour, []line{requests(2), other(1000)}},
		{time.Hour + interval, []line{requests(3), other(1020)}},
	} {
		b.now = b.now.Add(time.Second)
		a.uptime = page.uptime
		a.scrape(page.lines...)
		b.wait(9 * time.Second)
	}
	b.want(aggregate("istio_requests_total", "code", "500"), "20:0 30:20")
	b.want(total, "10:0 20:1 30:2")
}

// TestFirstPageIsEmpty: nothing tells whether the series of the second page are new, so they are only what later pages
// are compared with.
func TestFirstPageIsEmpty(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	for _, lines := range [][]line{nil, {requests(1000)}, {requests(1020)}} {
		b.now = b.now.Add(time.Second)
		a.scrape(lines...)
		b.wait(9 * time.Second)
	}
	b.want(total, "20:0 30:20")
}

// TestNewProcessOnAPageWithoutUptime: it has been counted when its pod is found again.
func TestNewProcessOnAPageWithoutUptime(t *testing.T) {
	b := newBed(t, istio())
	b.wait(time.Minute)
	a := b.target("a")
	a.uptime = time.Hour
	a.scrape(requests(100))
	b.wait(10 * time.Second)
	a.uptime = -1
	a.scrape(requests(2))
	a.end()
	b.wait(10 * time.Second)
	a = b.target("a")
	a.uptime = 5 * time.Second
	a.scrape(requests(3))
	b.wait(10 * time.Second)
	b.want(total, "70:0 80:2 90:2")
}
