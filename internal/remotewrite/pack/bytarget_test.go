package pack

import (
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestPackByTarget: the scrapes before the switch are delivered first, then those in the mode, several of a target in a
// group, and then those after it.
func TestPackByTarget(t *testing.T) {
	phase := func(at int64) int { // before, in or after the mode
		switch {
		case at <= 20_000:
			return 0
		case at <= 70_000:
			return 1
		}
		return 2
	}
	for _, interval := range []time.Duration{0, 10 * time.Second} { // 0: it is not known
		p := newPacking(t)
		pods := []page{p.target("pod-1", 3), p.target("pod-2", 3)}
		at := int64(0)
		scrapes := func(n int) {
			for range n {
				at += 10_000
				for _, pod := range pods {
					b := p.scrape(pod, at)
					b.Interval = interval
					p.append(b)
				}
			}
		}
		scrapes(2)
		if !p.packer.PackByTarget(true) || p.packer.PackByTarget(true) || !p.packer.ByTarget() {
			t.Error("the mode is not on after one switch")
		}
		scrapes(5)
		if !p.packer.PackByTarget(false) || p.packer.PackByTarget(false) || p.packer.ByTarget() {
			t.Error("the mode is on still")
		}
		scrapes(2)
		l := p.packer.Lanes()[0]
		var newest int64
		var groups []int // samples
		most := 0        // requests of a stream in a group
		for {
			group, state, _ := l.Next(true)
			if state != queue.Ready {
				break
			}
			samples, of := 0, map[uint64]int{}
			for _, r := range group {
				samples += r.Samples
				of[r.Stream]++
				most = max(most, of[r.Stream])
				if phase(r.Oldest) < phase(newest) {
					t.Errorf("interval %v: a request begins at %d, after %d", interval, r.Oldest, newest)
				}
				newest = max(newest, r.Newest)
			}
			groups = append(groups, samples)
			l.Ack(group)
		}
		total := 0
		for _, n := range groups {
			total += n
		}
		if total != 9*6 || most != 5 || groups[0] != 6 {
			t.Errorf("interval %v: groups of %v samples, at most %d scrapes of a target; want %d samples in all, and 5",
				interval, groups, most, 9*6)
		}
	}
}

// TestSmallPagesByTargetKeepTheDelay: such a page waits for others, for no longer than a second and the delay.
func TestSmallPagesByTargetKeepTheDelay(t *testing.T) {
	now := time.Unix(1_700_000_000, 300_000_000)
	for _, c := range []struct {
		interval, delay, most time.Duration
	}{
		{10 * time.Second, 5 * time.Second, time.Second},
		{10 * time.Second, 100 * time.Millisecond, 100 * time.Millisecond},
		{time.Second, 5 * time.Second, 500 * time.Millisecond},
		{time.Minute, 0, 0},
		{0, 5 * time.Second, 0}, // not known
	} {
		due := nextCollection(now, c.interval, c.delay)
		if wait := due.Sub(now); wait > c.most || due.IsZero() != (c.most == 0) {
			t.Errorf("interval %v, delay %v: due after %v, want at most %v", c.interval, c.delay, wait, c.most)
		}
	}
	p := newPacking(t)
	p.packer.PackByTarget(true)
	pod := p.target("pod", 3)
	p.append(p.scrape(pod, 1))
	if _, state, wait := p.packer.Lanes()[0].Next(false); state != queue.Ready {
		t.Errorf("a scrape whose interval is not known waits for %v", wait)
	}
}

// TestASwitchKeepsTheResultsOfRules: the rules do not run again for the series that have a result.
func TestASwitchKeepsTheResultsOfRules(t *testing.T) {
	rw := promconfig.DefaultRemoteWriteConfig
	rw.WriteRelabelConfigs = []*relabel.Config{{
		SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("metric_0"), Action: relabel.Drop,
		Separator: ";", NameValidationScheme: model.UTF8Validation,
	}}
	table := series.NewTable()
	s := NewSettings(&rw, labels.EmptyLabels(), false)
	p := &packing{t: t, table: table, packer: New(table, s, 1, zap.NewNop())}
	p.packer.Use(queue.NewMemory(queue.DefaultConfig(), 1))
	pod := p.target("pod", 3)
	results := func() *ruleResult {
		for _, r := range p.packer.rules.targets {
			return &r.results[0]
		}
		return nil
	}
	p.append(p.scrape(pod, 1))
	before := results()
	for n, on := range []bool{true, false} {
		p.packer.PackByTarget(on)
		p.append(p.scrape(pod, int64(2+n)))
		if results() != before {
			t.Errorf("on %v: the results were computed again", on)
		}
	}
}
