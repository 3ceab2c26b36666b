package pack

import (
	"testing"
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
		p := New(table, NewSettings(&rw, labels.EmptyLabels(), true), lanes, zap.NewNop())
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
	const scrapes = 8
	table := series.NewTable()
	rw := promconfig.DefaultRemoteWriteConfig
	rw.QueueConfig.BatchSendDeadline = model.Duration(scrapes * 10 * time.Second)
	rw.QueueConfig.MaxSamplesPerSend = scrapes // a group fills a POST, and waits for no other target
	p := &packing{t: t, table: table, packer: New(table, NewSettings(&rw, labels.EmptyLabels(), true), 1, zap.NewNop())}
	p.packer.Use(queue.NewMemory(queue.DefaultConfig(), 1))
	pod := p.target("pod-1", 3)
	pod.ids = append(pod.ids, table.Add(pod.id, labels.FromStrings("__name__", "unbound"), series.Meta{}))
	l := p.packer.Lanes()[0]
	samples := 0
	for n := int64(1); n <= 2*scrapes; n++ {
		b := p.scrape(pod, n*10_000)
		b.Interval = 10 * time.Second
		p.append(b)
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
}
