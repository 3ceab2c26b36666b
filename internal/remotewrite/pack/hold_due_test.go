package pack

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestAShorterDelayHoldsForAStreamThatWaits: a reload shortens the delay while scrapes of a stream wait.
func TestAShorterDelayHoldsForAStreamThatWaits(t *testing.T) {
	const long, short = 5 * time.Minute, 30 * time.Second
	now := time.Unix(1_700_000_000, 0)
	stream := streamWithFirstGroup(30, 30)
	var h holds
	h.scrape(stream, &series.Batch{Time: 1}, 30, long, now)
	now = now.Add(10 * time.Second)
	if due := h.scrape(stream, &series.Batch{Time: 2}, 3, short, now); due.After(now.Add(short)) {
		t.Errorf("a scrape waits for %v, the delay is %v", due.Sub(now), short)
	}
	if due := h.more(stream, short, now); due.After(now.Add(short)) {
		t.Errorf("samples of another target wait for %v, the delay is %v", due.Sub(now), short)
	}
}

// TestAStreamThatWasSentBeginsAGroup: the delay of a stream has passed before all its scrapes were there, because the
// target was not scraped for a while. Its next scrapes wait for each other, and are not sent one by one.
func TestAStreamThatWasSentBeginsAGroup(t *testing.T) {
	const delay = 30 * time.Second
	now := time.Unix(1_700_000_000, 0)
	stream := streamWithFirstGroup(3, 3)
	var h holds
	h.scrape(stream, &series.Batch{Time: 1}, 3, delay, now)
	now = now.Add(time.Minute)
	if due, want := h.more(stream, delay, now), now.Add(delay); due != want {
		t.Errorf("samples of another target are due after %v, want %v", due.Sub(now), delay)
	}
	want := now.Add(delay)
	for n := range 2 {
		if due := h.scrape(stream, &series.Batch{Time: int64(2 + n)}, 3, delay, now); due != want {
			t.Errorf("scrape %d is due after %v, want that of the group", n, due.Sub(now))
		}
		now = now.Add(10 * time.Second)
	}
}

// streamWithFirstGroup returns a stream for which firstGroup(stream, n) is scrapes.
func streamWithFirstGroup(scrapes, n int) uint32 {
	for stream := uint32(1); ; stream += 1<<16 + 1 {
		if firstGroup(stream, n) == scrapes {
			return stream
		}
	}
}

// TestFirstGroupsOfALaneDiffer: a lane has the targets whose hashes leave the same rest when divided by the number of
// lanes. Their first groups have different sizes.
func TestFirstGroupsOfALaneDiffer(t *testing.T) {
	table := series.NewTable()
	rw := promconfig.DefaultRemoteWriteConfig
	for _, lanes := range []int{2, 3, 4} {
		p := New(table, NewSettings(&rw, labels.EmptyLabels()), lanes, zap.NewNop())
		for _, n := range []int{2, 3, 4} {
			sizes := map[*Lane]map[int]int{}
			for i := range 400 {
				id := table.AddTarget(labels.FromStrings("instance", time.Duration(i).String(), "job", "envoy"))
				var hash uint64
				table.Read(func(v series.View) { hash = v.TargetHash(id) })
				l := p.laneOf(hash)
				if sizes[l] == nil {
					sizes[l] = map[int]int{}
				}
				sizes[l][firstGroup(streamOf(hash), n)]++
			}
			for l, by := range sizes {
				for size := 1; size <= n; size++ {
					if by[size] == 0 {
						t.Errorf("%d lanes, %d scrapes: no target of lane %d begins with %d scrapes", lanes, n, l.index,
							size)
					}
				}
			}
		}
	}
}

// TestAGroupHasAllScrapesOfATargetWithUnboundSeries: each scrape of such a target is two requests of its stream.
func TestAGroupHasAllScrapesOfATargetWithUnboundSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const scrapes = 8
		rw := promconfig.DefaultRemoteWriteConfig
		rw.QueueConfig.BatchSendDeadline = model.Duration(scrapes * 10 * time.Second)
		p := newPackingBy(t, NewSettings(&rw, labels.EmptyLabels()))
		pod := p.target("pod-1", 3)
		pod.ids = append(pod.ids, p.table.Add(pod.id, labels.FromStrings("__name__", "unbound"), series.Meta{}))
		l := p.packer.Lanes()[0]
		samples := 0
		for n := int64(1); n <= 2*scrapes; n++ {
			b := p.scrape(pod, n*10_000)
			b.Interval = 10 * time.Second
			p.append(b)
			time.Sleep(10 * time.Second)
			group, state, _ := l.Next(false)
			if state != queue.Ready {
				continue
			}
			samples = 0
			for _, r := range group {
				samples += r.Samples
			}
			l.Ack(group)
		}
		if want := scrapes * len(pod.ids); samples != want {
			t.Errorf("the last group has %d samples, want %d: %d scrapes", samples, want, scrapes)
		}
	})
}

// TestAWaveIsDueTogether: the targets of a wave wait for each other, and the sender is woken once for them. The delay
// holds.
func TestAWaveIsDueTogether(t *testing.T) {
	for _, c := range []struct{ interval, delay, wait time.Duration }{
		{10 * time.Second, 5 * time.Second, collectionTime},
		{10 * time.Second, 100 * time.Millisecond, 100 * time.Millisecond},
		{300 * time.Millisecond, 400 * time.Millisecond, 150 * time.Millisecond},
		{0, 5 * time.Second, collectionTime}, // not known
		{time.Minute, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			rw := promconfig.DefaultRemoteWriteConfig
			rw.QueueConfig.BatchSendDeadline = model.Duration(c.delay)
			p := newPackingBy(t, NewSettings(&rw, labels.EmptyLabels()))
			l := p.packer.Lanes()[0]
			scrape := func(name string, urgent bool) (woken bool) {
				b := p.scrape(p.target(name, 3), time.Now().UnixMilli())
				b.Interval, b.Urgent = c.interval, urgent
				p.append(b)
				select {
				case <-l.Wake():
					return true
				default:
					return false
				}
			}
			if !scrape("pod-1", false) {
				t.Error("the sender is not woken for the first scrape")
			}
			_, state, wait := l.Next(false)
			if wait != c.wait || (state == queue.Ready) != (c.wait == 0) {
				t.Errorf("%+v: state %v, wait %v", c, state, wait)
			}
			if c.wait == 0 {
				return
			}
			time.Sleep(c.wait / 2)
			if scrape("pod-2", false) || scrape("pod-3", false) {
				t.Error("the sender is woken for a scrape that is due when it wakes")
			}
			time.Sleep(c.wait / 2)
			if group, _, _ := l.Next(false); len(group) != 3 {
				t.Errorf("a group of %d scrapes, want the three of the wave", len(group))
			} else {
				l.Ack(group)
			}
			if !scrape("pod-1", false) || !scrape("pod-2", true) {
				t.Error("the sender is not woken for the next wave, or for an urgent scrape in it")
			}
			if group, state, _ := l.Next(false); state != queue.Ready || len(group) != 1 {
				t.Errorf("state %v, %d scrapes, want the urgent one", state, len(group))
			}
		})
	}
}

// TestAShorterDelayLimitsGroups: groups have as many scrapes as the delay allows that a reload has put into force.
func TestAShorterDelayLimitsGroups(t *testing.T) {
	withDelay := func(delay time.Duration) *Settings {
		rw := promconfig.DefaultRemoteWriteConfig
		rw.QueueConfig.BatchSendDeadline = model.Duration(delay)
		return NewSettings(&rw, labels.EmptyLabels())
	}
	p := newPackingBy(t, withDelay(100*time.Second))
	p.packer.LimitScrapes(true)
	pod, at := p.target("pod", 3), int64(0)
	group := func() int {
		for range 10 {
			at++
			b := p.scrape(pod, at)
			b.Interval = 10 * time.Second
			p.append(b)
		}
		group, _, _ := p.packer.Lanes()[0].Next(true)
		return len(group)
	}
	if n := group(); n != 10 {
		t.Errorf("a group of %d scrapes, want 10", n)
	}
	p.drain()
	p.packer.Replace(withDelay(20 * time.Second))
	if n := group(); n != 2 {
		t.Errorf("a group of %d scrapes after the reload, want 2", n)
	}
}

// TestLimitOfGroups: a group is at most two messages, and at most maxGroup, whatever max_samples_per_send is.
func TestLimitOfGroups(t *testing.T) {
	for perSend, want := range map[int]int{100: 200, 50_000: maxGroup.Samples, math.MaxInt: maxGroup.Samples} {
		rw := promconfig.DefaultRemoteWriteConfig
		rw.QueueConfig.MaxSamplesPerSend = perSend
		l := newPackingBy(t, NewSettings(&rw, labels.EmptyLabels())).packer.Lanes()[0]
		if got := l.limit().Samples; got != want {
			t.Errorf("max_samples_per_send %d: a group of %d samples, want %d", perSend, got, want)
		}
	}
}

// TestGroupsAreLimited: as many scrapes of a target as the delay allows, where the receiver wants that; else up to
// eight.
func TestGroupsAreLimited(t *testing.T) {
	for limit, want := range map[bool]int{false: 8, true: 2} {
		rw := promconfig.DefaultRemoteWriteConfig
		rw.QueueConfig.BatchSendDeadline = model.Duration(20 * time.Second)
		p := newPackingBy(t, NewSettings(&rw, labels.EmptyLabels()))
		p.packer.LimitScrapes(limit)
		pod := p.target("pod", 3)
		for n := range int64(10) {
			b := p.scrape(pod, n)
			b.Interval = 10 * time.Second
			p.append(b)
		}
		if group, _, _ := p.packer.Lanes()[0].Next(true); len(group) != want {
			t.Errorf("limited %v: a group of %d scrapes, want %d", limit, len(group), want)
		}
	}
}
